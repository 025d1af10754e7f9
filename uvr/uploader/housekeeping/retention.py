"""Deletes tasks from Redis, and stems from this service's own disk, when their retention time is over.

A finished task is deleted TASK_RETENTION_HOURS after its end, together with its dead letters, as soon as no queue has
any work left for it. Stems in local storage are deleted STEM_RETENTION_HOURS after the end of their task, but not while
its webhook is still to be delivered. The task's record says so before the first file is deleted. Stems whose task is
gone are deleted by their own age. Objects in a bucket are left to the bucket's lifecycle rule. The work of one round is
limited. While the clocks cannot be trusted nothing is deleted (`uvr.uploader.housekeeping.clock`), and never more than
half of everything at once (`uvr.uploader.housekeeping.mass_expiry`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import structlog

from config import Settings
from redis_queue import NOW
from uvr.storage.base import Storage
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.model import FINAL_STATUSES, Status, Task, WebhookState, record
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.mass_expiry import MassExpiry
from uvr.uploader.housekeeping.task_files import TASK_UUID, TaskFile, files_below

log = structlog.get_logger()

# Earlier versions called some stems as their models do ("lead-vocals"), so any name counts.
_STEM = rf"{TASK_UUID}_.+\.\w+"
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
        self._mass_expiry = MassExpiry(broker.client, broker.root)

    def enforce(self, clock: ClockReading) -> str:
        """Run one round; returns a sentence if it was stopped because too much has expired at once, else "".

        Raises `redis.RedisError`, and `UvrError` when the disk fails.
        """
        if clock.distrust:
            return ""
        problems = []
        if self._stem_ms and self._storage.kind == "local":
            problems.append(self._delete_stems(clock))
        if self._task_ms:
            problems.append(self._forget_tasks(clock))
        return " ".join(filter(None, problems))

    def _delete_stems(self, clock: ClockReading) -> str:
        before_ms = clock.now_ms - self._stem_ms
        stems = files_below(self._stem_dir, _STEM)
        old_stems = [stem for stem in stems if _written_ms(stem) < before_ms]

        def expired(since_ms: int) -> Iterator[TaskFile]:
            return (stem for stem in old_stems if since_ms <= self._ended_ms(stem, self._task_of(stem)) < before_ms)

        cutoff = self._mass_expiry.cutoff("stems", before_ms, clock, total=len(stems), expired=expired)
        deleted = 0
        for stem in islice((stem for stem in old_stems if self._prepare(stem, cutoff.before_ms)), _MAX_PER_ROUND):
            self._storage.delete(stem.path.relative_to(self._stem_dir).as_posix())
            deleted += 1
        if deleted:
            log.info("stems.deleted", stems=deleted)
        return cutoff.problem

    def _forget_tasks(self, clock: ClockReading) -> str:
        before_ms = clock.now_ms - self._task_ms
        store = self._broker.store

        def ended(until_ms: int, since_ms: int = 0) -> Iterator[Task]:
            # Without those that were submitted before `since_ms`, of which few ended later.
            return (
                task
                for status in FINAL_STATUSES
                for task in store.created_before(until_ms, status=status, since_ms=since_ms)
                if task.finished_ms < until_ms
            )

        total = sum(store.counts().values())
        cutoff = self._mass_expiry.cutoff("tasks", before_ms, clock, total=total, expired=partial(ended, before_ms))
        old_tasks = (task.task_uuid for task in ended(cutoff.before_ms))
        if forgotten := list(islice(filter(self._dead_letters.forget, old_tasks), _MAX_PER_ROUND)):
            log.info("tasks.forgotten", tasks=len(forgotten))
        return cutoff.problem

    def _prepare(self, stem: TaskFile, before_ms: int) -> bool:
        """Whether `stem` may be deleted; if so, the record of its task says that its stems are gone."""
        task = self._task_of(stem)
        if self._ended_ms(stem, task) >= before_ms:
            return False
        # In this order: a task must never show stems that are gone already.
        if task and not task.stems_deleted_ms:
            self._broker.tasks.annotate(task.task_uuid, record(stems_deleted_ms=NOW))
        return True

    def _ended_ms(self, stem: TaskFile, task: Task | None) -> float:
        """The time from which the age of `stem` counts, infinite while its task or its webhook needs it."""
        if task is None:
            return _written_ms(stem)
        if task.status != Status.SUCCESS or task.webhook == WebhookState.PENDING:
            return math.inf
        return max(_written_ms(stem), task.finished_ms)

    def _task_of(self, stem: TaskFile) -> Task | None:
        return self._broker.store.get(stem.task_uuid)


def _written_ms(stem: TaskFile) -> float:
    """When the file was written; infinite when it is gone."""
    try:
        return stem.path.stat().st_mtime * 1000
    except FileNotFoundError:
        return math.inf
