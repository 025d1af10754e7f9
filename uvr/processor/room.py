"""Room on the disks for one song, learned from a try that has filled a disk.

How much a song takes is known only once it is decoded. So a processor begins it when the disks have MIN_FREE_BYTES. If
a disk becomes full nevertheless, the task's record keeps how much room this try had, and the next one begins when there
is more. Otherwise a song that does not fit would be decoded again every minute. After an hour it is tried in any case,
because other songs may have used a part of that room.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from uvr.disk import bytes_free, bytes_occupied
from uvr.errors import DiskFullError, NoRoomForModelError, PermanentError, full_disk_explained
from uvr.tasks.model import Task, record
from uvr.timestamps import now_ms
from uvr.worker.heartbeat import Heartbeat

_MARGIN = 8  # the next try needs an eighth more than the last one took
_TRIED_AFTER_MS = 3_600_000
_WHOLE_DISK = 0.9  # file systems keep a part for themselves and for root


class SongRoom:
    """The room below `folders`, which are given by the variable that sets each one.

    `is_only_disk` says that no other node has a larger disk for a song that is too large for this one.
    """

    def __init__(self, folders: Mapping[str, Path], *, is_only_disk: bool) -> None:
        self._folders = dict(folders)
        self._is_only_disk = is_only_disk

    def require(self, task: Task) -> None:
        """Raise `DiskFullError` if `task` has filled a disk lately that still has no more room than it had then."""
        if now_ms() - task.started_ms > _TRIED_AFTER_MS:
            return
        for variable, needed_bytes in task.needs_bytes.items():
            if variable in self._folders and bytes_free(self._folders[variable]) < needed_bytes:
                raise DiskFullError(_sentence(variable, needed_bytes))

    @contextmanager
    def learned(self, own: Mapping[str, Path], heartbeat: Heartbeat) -> Iterator[None]:
        """Record how much room the block had if a disk becomes full in it; `own` holds all that it has written.

        Raises `DiskFullError`, or `PermanentError` if that was the whole disk.
        """
        try:
            with full_disk_explained():
                yield
        except NoRoomForModelError as error:
            heartbeat.beat(record(facts={"waits_for": error.message}))
            raise
        except DiskFullError as error:
            variable = min(own, key=lambda name: bytes_free(own[name]))
            device = own[variable].stat().st_dev
            own_bytes = sum(_bytes_below(folder) for folder in own.values() if folder.stat().st_dev == device)
            total_bytes = shutil.disk_usage(own[variable]).total
            # What is free by now says nothing: another song may have filled the disk and be gone already.
            if self._is_only_disk and own_bytes >= total_bytes * _WHOLE_DISK:
                raise PermanentError(
                    f"The song needs more disk space while it is separated than the disk of {variable} has in total "
                    f"({_gib(total_bytes)}); submit a shorter part of it."
                ) from error
            needed_bytes = own_bytes + own_bytes // _MARGIN
            heartbeat.beat(
                record(needs_bytes={variable: needed_bytes}, facts={"waits_for": _sentence(variable, needed_bytes)})
            )
            raise


def _sentence(variable: str, needed_bytes: int) -> str:
    return f"The disk of {variable} is full; the song waits until more than {_gib(needed_bytes)} are free."


def _bytes_below(folder: Path) -> int:
    """What deleting the folder would free; a song that is only linked here stays where it is."""
    files = (Path(parent, name).stat() for parent, _, names in os.walk(folder) for name in names)
    return sum(bytes_occupied(file) for file in files if file.st_nlink == 1)


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
