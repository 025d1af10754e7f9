"""When a task will be done, as far as anybody can know: from what the latest songs took, and who is at work.

How long a song is shows only when it is fetched, so each one that waits counts for as much as half of the latest songs
took at most. What the estimates are made of is read from Redis every few seconds, however many clients ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from uvr.liveness.workers import live_workers
from uvr.tasks.model import Status, Task
from uvr.tasks.queues import Queues
from uvr.timestamps import now_ms

_HOLDS_S = 3.0


@dataclass(frozen=True)
class Outlook:
    """What estimates are made of; `song_s` is None before the first song was separated."""

    song_s: float | None
    processors: int
    processing: int

    def remaining_s(self, task: Task, position: int | None) -> int | None:
        """Seconds until the stems of `task` are made; None when nobody can tell, or when they are made already.

        `position` is how many tasks wait before it.
        """
        if self.song_s is None or not self.processors:
            return None
        if task.status is Status.PROCESSING:
            return round(self._whole_s(task) * (1 - task.progress))
        if task.status is not Status.QUEUED or position is None:
            return None
        # Of those at work half is done, on average.
        ahead = position + self.processing / 2
        return round(self.song_s * (ahead / self.processors + 1))

    def _whole_s(self, task: Task) -> float:
        """What a task at work takes: the further it is, the more its own pace counts, and the less that of others."""
        song_s = self.song_s or 0.0
        if not (task.started_ms and task.progress):
            return song_s
        elapsed_s = max(0.0, (now_ms() - task.started_ms) / 1000)
        return song_s * (1 - task.progress) + elapsed_s


class EtaEstimator:
    """The outlook, read anew every `_HOLDS_S` seconds; used by several threads. May raise `redis.RedisError`."""

    def __init__(self, client: Redis, queues: Queues, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._queues = queues
        self._clock = clock
        self._read: tuple[float, Outlook] | None = None

    def remaining_s(self, task: Task, position: int | None) -> int | None:
        """See `Outlook.remaining_s`."""
        return None if task.status.is_final else self._outlook().remaining_s(task, position)

    def _outlook(self) -> Outlook:
        now = self._clock()
        if self._read is None or now - self._read[0] > _HOLDS_S:
            self._read = now, self._look()
        return self._read[1]

    def _look(self) -> Outlook:
        processors = live_workers(self._client, self._queues.tasks.name).get("processor", [])
        return Outlook(
            song_s=self._queues.pace.seconds(),
            processors=sum("paused" not in processor for processor in processors),
            processing=self._queues.store.counts()[Status.PROCESSING],
        )
