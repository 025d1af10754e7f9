"""How long songs have taken lately: told by the processors, asked for by whoever estimates when a task will be done.

R:pace    List    seconds of work on the latest songs, latest first
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
    """What the songs of all processors took; `records` is the name that the tasks' records stand under."""

    def __init__(self, client: Redis, records: str) -> None:
        self._client = client
        self._key = f"{records}:pace"
        self._tell = scripts.register(client, "durations/add")

    def tell(self, seconds: float) -> None:
        """A song took so long from its audio to its stems. Never fails: an estimate is worth no task."""
        try:
            self._tell(keys=[self._key], args=[round(seconds, 3), _SONGS_KEPT])
        except RedisError as error:
            log.debug("pace.not_told", error=str(error))

    def seconds(self) -> float | None:
        """What half of the latest songs took at most; None before the first one."""
        told: Any = self._client.lrange(self._key, 0, -1)
        return median(map(float, told)) if told else None
