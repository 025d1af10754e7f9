"""What has ended is kept for a while and no longer: tasks in Redis, stems on this service's own disk.

A finished task goes TASK_RETENTION_HOURS after its end, with its dead letters, once no queue has anything left to do
for it. Stems in local storage go STEM_RETENTION_HOURS after the end of their task, unless its receiver has not heard
of them yet, and the task says so before the first file is gone; those of tasks that are gone themselves go by their own
age. Objects in a bucket are left to the bucket's lifecycle rule. Each round does a bounded part of the work.
"""

from __future__ import annotations

from itertools import islice

import structlog

from config import Settings
from uvr.storage.base import Storage
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.model import Status, WebhookState, record
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.task_files import TASK_UUID, TaskFile, files_below

log = structlog.get_logger()

_STEM = rf"{TASK_UUID}_\w+\.\w+"
_HOUR_MS = 3_600_000
_MAX_PER_ROUND = 1000


class Retention:
    """The retention times of one configuration; 0 hours mean for ever."""

    def __init__(self, settings: Settings, broker: Broker, dead_letters: DeadLetters, storage: Storage) -> None:
        self._task_ms = round(settings.task_retention_hours * _HOUR_MS)
        self._stem_ms = round(settings.stem_retention_hours * _HOUR_MS)
        self._stem_dir = settings.output_dir / "stems"
        self._broker = broker
        self._dead_letters = dead_letters
        self._storage = storage

    def enforce(self) -> None:
        """One round. Raises `redis.RedisError`, and `UvrError` for trouble with the disk."""
        if self._stem_ms and self._storage.kind == "local":
            self._delete_stems(now_ms() - self._stem_ms)
        if self._task_ms:
            self._forget_tasks(now_ms() - self._task_ms)

    def _forget_tasks(self, before_ms: int) -> None:
        old = (
            task.task_uuid
            for status in Status
            if status.is_final
            for task in self._broker.store.created_before(before_ms, status=status)
            if task.finished_ms < before_ms
        )
        forgotten = list(islice(filter(self._dead_letters.forget, old), _MAX_PER_ROUND))
        if forgotten:
            log.info("tasks.forgotten", tasks=len(forgotten))

    def _delete_stems(self, before_ms: int) -> None:
        old = (found for found in files_below(self._stem_dir, _STEM) if self._may_go(found, before_ms))
        deleted = 0
        for found in islice(old, _MAX_PER_ROUND):
            self._storage.delete(found.path.relative_to(self._stem_dir).as_posix())
            deleted += 1
        if deleted:
            log.info("stems.deleted", stems=deleted)

    def _may_go(self, found: TaskFile, before_ms: int) -> bool:
        if not _is_older(found, before_ms):
            return False
        task = self._broker.store.get(found.task_uuid)
        if task is None:
            return True
        if task.status != Status.SUCCESS or task.finished_ms > before_ms or task.webhook == WebhookState.PENDING:
            return False
        # First the task says that it has no stems any more, then they go: never the other way round.
        if not task.stems_deleted_ms:
            self._broker.tasks.annotate(task.task_uuid, record(stems_deleted_ms=now_ms()))
        return True


def _is_older(found: TaskFile, before_ms: int) -> bool:
    try:
        return found.path.stat().st_mtime * 1000 < before_ms
    except FileNotFoundError:
        return False
