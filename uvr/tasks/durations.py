"""How long the latest songs took to separate: processors write it, estimates of when a task will be done read it.

R:pace    List    seconds of work for each of the newest songs, newest first
"""

from __future__ import annotations

from statistics import median
from typing import Any

import structlog
from redis import Redis, RedisError

from uvr.redis import scripts

log = structlog.get_logger()

_SONGS_KEPT = 20


class RecentDurations:
    """The durations from all processors. `root` is the prefix of the key."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._key = f"{root}:pace"
        self._add = scripts.register(client, "durations/add")

    def add(self, seconds: float) -> None:
        """A song took `seconds` from its audio file to its stems. Never fails: no task fails for an estimate."""
        try:
            self._add(keys=[self._key], args=[round(seconds, 3), _SONGS_KEPT])
        except RedisError as error:
            log.debug("pace.not_told", error=str(error))

    def median_s(self) -> float | None:
        """The median of the latest songs, in seconds; None before the first one. May raise `redis.RedisError`."""
        durations: Any = self._client.lrange(self._key, 0, -1)
        return median(map(float, durations)) if durations else None
