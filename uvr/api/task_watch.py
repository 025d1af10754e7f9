"""The tasks that clients of this process follow one by one, read together twice a second.

However many clients follow however many tasks, a reading takes two round trips for each hundred tasks.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from uvr.api.eta import EtaEstimator
from uvr.api.schemas.responses import task_event
from uvr.tasks.model import Status, Task
from uvr.tasks.store import TaskStore

READ_EVERY_S = 0.5


@dataclass(frozen=True)
class Seen:
    """A task as it was when it was read, and its `TaskEvent` as JSON."""

    task: Task
    text: str


class TaskWatch:
    """For many threads. Methods may raise `redis.RedisError`."""

    def __init__(self, store: TaskStore, eta: EtaEstimator, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._eta = eta
        self._clock = clock
        self._lock = threading.Lock()
        self._followers: Counter[str] = Counter()
        self._seen: dict[str, Seen | None] = {}
        self._read_at = float("-inf")

    @contextmanager
    def following(self, task_uuid: str) -> Iterator[None]:
        """Read this task too, until the block ends."""
        with self._lock:
            self._followers[task_uuid] += 1
        try:
            yield
        finally:
            with self._lock:
                self._followers[task_uuid] -= 1
                if not self._followers[task_uuid]:
                    del self._followers[task_uuid]
                    self._seen.pop(task_uuid, None)

    def seen(self, task_uuid: str) -> Seen | None:
        """A task that is followed, as it is; None if it does not exist (any longer)."""
        with self._lock:
            if self._clock() - self._read_at >= READ_EVERY_S:
                self._seen = self._read(list(self._followers))
                self._read_at = self._clock()
            elif task_uuid not in self._seen:
                self._seen |= self._read([task_uuid])
            return self._seen[task_uuid]

    def _read(self, task_uuids: Sequence[str]) -> dict[str, Seen | None]:
        found = self._store.get_many(task_uuids)
        waiting = [task_uuid for task_uuid, task in found.items() if task.status is Status.QUEUED]
        positions = dict(zip(waiting, self._store.positions(waiting), strict=True))
        return {it: self._seen_now(found[it], positions.get(it)) if it in found else None for it in task_uuids}

    def _seen_now(self, task: Task, position: int | None) -> Seen:
        event = task_event(task, position=position, eta_s=self._eta.remaining_s(task, position))
        return Seen(task, event.model_dump_json())
