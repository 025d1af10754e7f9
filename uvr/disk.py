"""Files that survive a power cut, and free disk space.

A nearly full disk does not fail a task; it prevents the next one from starting. Workers ask `DiskSpace` before each
claim.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger()


def sync(path: Path) -> None:
    """Return when `path` is safe on disk: the content of a file, or the entries of a folder after a rename in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DiskSpace:
    """Watches the free space on the disks of `folders`, by the name of their setting. The folders need not exist yet.

    Each disk must have `min_free_bytes` free for an ordinary user; 0 turns the check off.
    """

    def __init__(self, folders: Mapping[str, Path], min_free_bytes: int) -> None:
        self._folders = dict(folders)
        self._min_free_bytes = min_free_bytes
        self._was_short = False

    def shortage(self) -> str:
        """A sentence, without paths, that says which disk lacks space; "" if all have enough.

        This needs one system call per folder. Each change is logged once.
        """
        sentence = " ".join(filter(None, map(self._shortage_of, self._folders)))
        if bool(sentence) != self._was_short:
            self._was_short = bool(sentence)
            if sentence:
                log.error("disk.short", error=sentence)
            else:
                log.info("disk.enough")
        return sentence

    def _shortage_of(self, variable: str) -> str:
        if not self._min_free_bytes:
            return ""
        try:
            free_bytes = bytes_free(self._folders[variable])
        except OSError as error:
            return f"The disk of {variable} cannot be checked: {error.strerror}."
        if free_bytes >= self._min_free_bytes:
            return ""
        free, required = (f"{size / 2**30:.1f} GiB" for size in (free_bytes, self._min_free_bytes))
        return f"The disk of {variable} has {free} free; MIN_FREE_BYTES requires {required}."


def bytes_free(folder: Path) -> int:
    """Free bytes on the disk where `folder` is, or will be created."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free
