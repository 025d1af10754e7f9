"""Estimates of when a task will be done, from how long recent songs took and how many processors work.

The length of a song is only known once it is decoded, so every waiting task counts as the median of the recent songs.
From then on its own length counts, and the speed of its model.
The input of the estimates is read from Redis at most every few seconds, however many clients ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uvr.liveness.workers import live_workers
from uvr.tasks.broker import Broker
from uvr.tasks.durations import DEFAULT_MODEL
from uvr.tasks.model import Status, Task
from uvr.timestamps import now_ms

_CACHE_S = 3.0


@dataclass(frozen=True)
class Throughput:
    """How fast the service works: the input of every estimate.

    `song_s` is the median time that recent songs took, None before the first one. `processors` counts those that are
    not paused, `processing` the tasks that they separate at the moment.
    """

    song_s: float | None
    processors: int
    processing: int
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Seconds of work per second of audio, by model (`RecentDurations.speeds`)."""

    def remaining_s(self, task: Task, position: int | None) -> int | None:
        """Seconds until the stems of `task` are made; None if there is no estimate, or the stems are made already.

        `position` is the number of tasks that go before it.
        """
        if self.song_s is None or not self.processors:
            return None
        if task.status is Status.PROCESSING:
            # The further a task is, the more its own speed counts, and the less that of other songs.
            expected_s = total_s = self._work_s(task) or self.song_s
            if task.started_ms and task.progress:
                elapsed_s = max(0.0, (now_ms() - task.started_ms) / 1000)
                total_s = expected_s * (1 - task.progress) + elapsed_s
            return round(total_s * (1 - task.progress))
        if task.status is not Status.QUEUED or position is None:
            return None
        tasks_ahead = position + self.processing / 2  # those in progress are half done on average
        return round(self.song_s * (tasks_ahead / self.processors + 1))

    def _work_s(self, task: Task) -> float | None:
        """How long the models of `task` usually take for a song of its length; None if one of both is not known."""
        speeds = [self.speeds.get(model) for model in task.models or [DEFAULT_MODEL]]
        known = [speed for speed in speeds if speed is not None]
        audio_s = task.facts.get("audio_s")
        return sum(known) * audio_s if audio_s and len(known) == len(speeds) else None


class EtaEstimator:
    """Estimates from the current throughput, cached for `_CACHE_S` seconds. Methods may raise `redis.RedisError`.

    Safe to use from several threads.
    """

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._cached: tuple[float, Throughput] | None = None

    def remaining_s(self, task: Task, position: int | None) -> int | None:
        """See `Throughput.remaining_s`."""
        if task.status.is_final:
            return None
        now, cached = self._clock(), self._cached
        if cached is None or now - cached[0] > _CACHE_S:
            processors = live_workers(self._broker.client, self._broker.root).get("processor", [])
            throughput = Throughput(
                song_s=self._broker.durations.median_s(),
                processors=sum("paused" not in processor for processor in processors),
                processing=self._broker.store.counts()[Status.PROCESSING],
                speeds=self._broker.durations.speeds(),
            )
            cached = self._cached = now, throughput
        return cached[1].remaining_s(task, position)
