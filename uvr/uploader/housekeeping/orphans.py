"""Removes what no living task owns: folders of workers that died, stems that are stored, unfinished files.

Who owns a thing is in its name and in Redis; while Redis is away everything stays. A thing is always looked at before
Redis is asked about it: a fence is never given out twice, so a claim that is over by then stays over, and whatever a
later claim makes has another name and is not among what was seen. What belongs to a task that this Redis does not know
stays for a day: it may be another service's, or this is the wrong Redis, or one whose backup is to come.

    TEMP_DIR/{task_uuid}.{fence}.*/             lives as long as its claim of the task
    OUTPUT_DIR/pending/{task_uuid}.{fence}.part/                the same
    OUTPUT_DIR/pending/{task_uuid}.{fence}/     lives as long as its claim, and then until its stems are stored
    OUTPUT_DIR/stems/**/.{task_uuid}_*          lives as long as any claim of the result
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from config import Settings
from uvr.tasks.broker import Broker
from uvr.uploader.housekeeping.task_files import FENCE, TASK_UUID, TaskFile, files_below, folders_in

log = structlog.get_logger()

_WORK = rf"{TASK_UUID}\.{FENCE}\.[a-z0-9_]{{8}}"
_HANDOVER = rf"{TASK_UUID}\.{FENCE}(\.part)?"
_UNFINISHED = rf"\.{TASK_UUID}_.+\.[0-9a-f]{{16}}"

_UNKNOWN_KEPT_S = 86_400


class OrphanCleaner:
    """Cleans the folders of one node, the one whose results `broker` has."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._temp_dir = settings.temp_dir
        self._output_dir = settings.output_dir
        self._broker = broker

    def clean(self) -> list[str]:
        """Remove what nobody owns; the names of what is gone. Raises `redis.RedisError`, never one about the disk."""
        looks: list[tuple[list[TaskFile], Callable[[TaskFile], bool]]] = [
            (folders_in(self._temp_dir, _WORK), self._is_claimed),
            (folders_in(pending_dir(self._output_dir), _HANDOVER), self._is_wanted),
            (files_below(self._output_dir / "stems", _UNFINISHED), self._is_being_stored),
        ]
        return [
            found.path.name
            for finds, is_owned in looks
            for found in finds
            if not is_owned(found) and not self._is_foreign(found) and _remove(found.path)
        ]

    def _is_claimed(self, found: TaskFile) -> bool:
        return self._broker.tasks.holder(found.task_uuid) == found.fence

    def _is_wanted(self, found: TaskFile) -> bool:
        # In this order: the step that ends a claim writes into the record which folder it handed over.
        return self._is_claimed(found) or (found.path.suffix != ".part" and self._awaits_upload(found))

    def _awaits_upload(self, found: TaskFile) -> bool:
        task = self._broker.store.get(found.task_uuid)
        if task is None or task.handover != found.path.name:
            return False  # deleted meanwhile, or the stems of another claim were taken
        # An upload that failed for good is a dead letter, which an operator may bring back.
        return not task.status.is_final or self._broker.results.contains(found.task_uuid)

    def _is_being_stored(self, found: TaskFile) -> bool:
        return self._broker.results.holder(found.task_uuid) is not None

    def _is_foreign(self, found: TaskFile) -> bool:
        store = self._broker.store
        if store.get(found.task_uuid) is not None or store.was_deleted(found.task_uuid):
            return False
        return _age_s(found.path) < _UNKNOWN_KEPT_S


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


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
