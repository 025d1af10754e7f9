"""The disk: syncing files so that they survive a power cut, and the free space for another task.

A full disk must not make tasks fail, so workers check `DiskCheck` before each claim and claim nothing without space.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger()

_BLOCK_BYTES = 512  # the unit of st_blocks on every system


def sync(path: Path) -> None:
    """Write `path` through to the disk: the content of a file, or the names in a folder after a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DiskCheck:
    """Checks the disks of `folders`, given by the variable that sets each one. The folders need not exist yet.

    `min_free_bytes` must be free on each disk for users other than root; 0 turns the check off.
    """

    def __init__(self, folders: Mapping[str, Path], min_free_bytes: int) -> None:
        self._folders = dict(folders)
        self._min_free_bytes = min_free_bytes
        self._was_short = False

    def shortage(self) -> str:
        """A sentence without paths about the disks that lack free space, or "" if none does.

        It costs one system call for each folder. Each change is logged once.
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
        return (
            f"The disk of {variable} has {_gib(free_bytes)} free; MIN_FREE_BYTES asks for {_gib(self._min_free_bytes)}."
        )


def bytes_free(folder: Path) -> int:
    """The free space on the disk of `folder`, which need not exist yet."""
    return space_of(folder)[0]


def space_of(folder: Path) -> tuple[int, int]:
    """The free and the total bytes of the disk of `folder`, which need not exist yet."""
    usage = shutil.disk_usage(existing_part(folder))
    return usage.free, usage.total


def existing_part(path: Path) -> Path:
    """The longest part of `path` that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def bytes_occupied(status: os.stat_result) -> int:
    """How much of its disk a file takes, which is less than its size while a part of it was never written."""
    return status.st_blocks * _BLOCK_BYTES


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
