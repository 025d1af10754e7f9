"""The disk: what makes a file survive a power cut, and whether there is room for another task.

A full disk does not fail a task here, it keeps the next one from being begun: `DiskSpace` is asked before each claim.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger()


def sync(path: Path) -> None:
    """Return once the content of `path` is on the disk: a file's bytes, or a folder's names after a rename in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DiskSpace:
    """Watches the disks of `folders`, each under the name of the variable that sets it; the folders may not exist yet.

    `min_free_bytes` is what each disk must have free for an ordinary user; 0 means not to look.
    """

    def __init__(self, folders: Mapping[str, Path], min_free_bytes: int) -> None:
        self._folders = dict(folders)
        self._min_free_bytes = min_free_bytes
        self._was_short = False

    def shortage(self) -> str:
        """A sentence, without paths, that says which disk is short of what; "" while there is room on all.

        Costs one system call a folder. Each change is logged, once.
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
            return f"The disk of {variable} cannot be looked at: {error.strerror}."
        if free_bytes >= self._min_free_bytes:
            return ""
        wanted = _gib(self._min_free_bytes)
        return f"The disk of {variable} has {_gib(free_bytes)} free; MIN_FREE_BYTES asks for {wanted}."


def bytes_free(folder: Path) -> int:
    """What is free where `folder` is, or will be once it is made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
