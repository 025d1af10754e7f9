"""How fast songs were separated lately: processors write it, estimates of when a task will be done read it.

R:pace      List    seconds of work for each of the newest songs, newest first
R:speeds    Hash    model -> seconds of work per second of audio for each of its newest songs, newest first, with
                    spaces; the model "" is the one of tasks that name none
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import structlog
from redis import Redis, RedisError

from uvr.redis import scripts

log = structlog.get_logger()

DEFAULT_MODEL = ""
"""The name under which the speed of the default model is kept beside its own name."""
_SONGS_KEPT = 20


class RecentDurations:
    """The durations and speeds from all processors. `root` is the prefix of the keys."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._pace_key = f"{root}:pace"
        self._speeds_key = f"{root}:speeds"
        self._add = scripts.register(client, "durations/add")
        self._add_speed = scripts.register(client, "durations/add_speed")

    def add(self, seconds: float) -> None:
        """A song took `seconds` from its audio file to its stems. Never fails: no task fails for an estimate."""
        with _errors_logged():
            self._add(keys=[self._pace_key], args=[round(seconds, 3), _SONGS_KEPT])

    def add_speed(self, models: Iterable[str], speed: float) -> None:
        """A song took `speed` seconds for each second of its audio with a model of these names. Never fails."""
        with _errors_logged():
            self._add_speed(keys=[self._speeds_key], args=[round(speed, 5), _SONGS_KEPT, *models])

    def median_s(self) -> float | None:
        """The median of the latest songs, in seconds; None before the first one. May raise `redis.RedisError`."""
        durations: Any = self._client.lrange(self._pace_key, 0, -1)
        return median(map(float, durations)) if durations else None

    def speeds(self) -> dict[str, float]:
        """By model, the median of its latest songs in seconds of work per second of audio.

        The speed of the default model also has the name `DEFAULT_MODEL`. May raise `redis.RedisError`.
        """
        kept: Any = self._client.hgetall(self._speeds_key)
        return {model: median(map(float, speeds.split())) for model, speeds in kept.items()}


@contextmanager
def _errors_logged() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        log.debug("pace.not_told", error=str(error))
