"""Removes what no live task owns: folders of workers that died, stems that are stored already, unfinished files.

The owner follows from the name and from Redis; while Redis is down nothing is removed. Files are always listed before
Redis is asked about their owners. A fence is never used twice, so a claim that has ended by then stays ended, and what
a later claim writes has another name and is not in the list. What belongs to a task that this Redis does not know is
kept for a day: it may belong to another service, or this is the wrong Redis, or its backup is not restored yet.

    TEMP_DIR/{task_uuid}.{fence}.*/             kept while that claim of the task lives
    OUTPUT_DIR/pending/{task_uuid}.{fence}.part/                the same
    OUTPUT_DIR/pending/{task_uuid}.{fence}/     kept while that claim lives, and then until its stems are stored
    OUTPUT_DIR/pending/{task_uuid}.{fence}.peaks/               the same
    OUTPUT_DIR/stems/**/.{task_uuid}_*          kept while any claim of the result lives
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from config import Settings
from uvr.storage.staging import PEAKS_SUFFIX, pending_dir
from uvr.tasks.broker import Broker
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.task_files import FENCE, TASK_UUID, TaskFile, files_below, folders_in

log = structlog.get_logger()

_WORK = rf"{TASK_UUID}\.{FENCE}\.[a-z0-9_]{{8}}"
_STAGING = rf"{TASK_UUID}\.{FENCE}(\.part|\.peaks)?"
_UNFINISHED = rf"\.{TASK_UUID}_.+\.[0-9a-f]{{16}}"

_UNKNOWN_KEPT_MS = 86_400_000


class OrphanCleaner:
    """Cleans the folders of one node, whose results are in `broker.results`."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._temp_dir = settings.temp_dir
        self._output_dir = settings.output_dir
        self._broker = broker

    def clean(self, clock: ClockReading) -> list[str]:
        """Remove what no task owns; returns the names removed.

        Raises `redis.RedisError`; errors of the disk are logged.
        """
        results = self._broker.results
        candidates: list[tuple[list[TaskFile], Callable[[TaskFile], bool]]] = [
            (folders_in(self._temp_dir, _WORK), self._is_claimed),
            (folders_in(pending_dir(self._output_dir), _STAGING), self._is_staged),
            (
                files_below(self._output_dir / "stems", _UNFINISHED),
                lambda file: results.holder(file.task_uuid) is not None,
            ),
        ]
        return [
            file.path.name
            for files, has_owner in candidates
            for file in files
            if not has_owner(file) and not self._may_be_foreign(file, clock) and _remove(file.path)
        ]

    def _is_claimed(self, file: TaskFile) -> bool:
        return self._broker.tasks.holder(file.task_uuid) == file.fence

    def _is_staged(self, folder: TaskFile) -> bool:
        """Whether a processor is filling the folder, or an uploader has still to store it."""
        # In this order: the step that ends a claim writes into the record which folder it has staged.
        if self._is_claimed(folder):
            return True
        task = None if folder.path.suffix == ".part" else self._broker.store.get(folder.task_uuid)
        if task is None or task.handover != folder.path.name.removesuffix(PEAKS_SUFFIX):
            return False  # the task was deleted, or another claim's stems were accepted
        # A result that failed for good is a dead letter, which an operator may revive.
        return not task.status.is_final or self._broker.results.contains(folder.task_uuid)

    def _may_be_foreign(self, file: TaskFile, clock: ClockReading) -> bool:
        """Whether this Redis does not know the task, and the file is younger than a day."""
        store = self._broker.store
        if store.get(file.task_uuid) is not None or store.was_deleted(file.task_uuid):
            return False
        try:
            return not clock.has_passed(file.path.lstat().st_mtime * 1000, _UNKNOWN_KEPT_MS)
        except FileNotFoundError:
            return True


def _remove(path: Path) -> bool:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return False  # another uploader of this node was faster
    except OSError as error:
        log.warning("janitor.not_removed", name=path.name, error=str(error))
        return False
    log.info("janitor.removed", name=path.name)
    return True
