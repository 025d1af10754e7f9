"""Deletes tasks from Redis, and stems from this service's own disk, when their retention time is over.

A finished task is deleted TASK_RETENTION_HOURS after its end, together with its dead letters, as soon as no queue has
any work left for it. Stems in local storage are deleted STEM_RETENTION_HOURS after the end of their task, but not while
its webhook is still to be delivered. The task's record says so before the first file is deleted. Stems whose task is
gone are deleted by their own age. Objects in a bucket are left to the bucket's lifecycle rule. The work of one round is
limited.
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
    """The retention times of one configuration; 0 hours mean that nothing is deleted."""

    def __init__(self, settings: Settings, broker: Broker, dead_letters: DeadLetters, storage: Storage) -> None:
        self._task_ms = round(settings.task_retention_hours * _HOUR_MS)
        self._stem_ms = round(settings.stem_retention_hours * _HOUR_MS)
        self._stem_dir = settings.output_dir / "stems"
        self._broker = broker
        self._dead_letters = dead_letters
        self._storage = storage

    def enforce(self) -> None:
        """Run one round. Raises `redis.RedisError`, and `UvrError` when the disk fails."""
        if self._stem_ms and self._storage.kind == "local":
            stems_before_ms = now_ms() - self._stem_ms
            old_stems = (
                stem for stem in files_below(self._stem_dir, _STEM) if self._prepare_deletion(stem, stems_before_ms)
            )
            deleted = 0
            for stem in islice(old_stems, _MAX_PER_ROUND):
                self._storage.delete(stem.path.relative_to(self._stem_dir).as_posix())
                deleted += 1
            if deleted:
                log.info("stems.deleted", stems=deleted)
        if self._task_ms:
            tasks_before_ms = now_ms() - self._task_ms
            old_tasks = (
                task.task_uuid
                for status in Status
                if status.is_final
                for task in self._broker.store.created_before(tasks_before_ms, status=status)
                if task.finished_ms < tasks_before_ms
            )
            if forgotten := list(islice(filter(self._dead_letters.forget, old_tasks), _MAX_PER_ROUND)):
                log.info("tasks.forgotten", tasks=len(forgotten))

    def _prepare_deletion(self, stem: TaskFile, before_ms: int) -> bool:
        """Whether `stem` may be deleted; if so, the record of its task says that its stems are gone."""
        try:
            if stem.path.stat().st_mtime * 1000 >= before_ms:
                return False
        except FileNotFoundError:
            return False
        task = self._broker.store.get(stem.task_uuid)
        if task is None:
            return True
        if task.status != Status.SUCCESS or task.finished_ms > before_ms or task.webhook == WebhookState.PENDING:
            return False
        # In this order: a task must never show stems that are gone already.
        if not task.stems_deleted_ms:
            self._broker.tasks.annotate(task.task_uuid, record(stems_deleted_ms=now_ms()))
        return True
