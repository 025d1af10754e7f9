"""How long songs have taken lately: told by the processors, asked for by whoever estimates when a task will be done.

R:pace    List    seconds of work on the latest songs, latest first
"""

from __future__ import annotations

from statistics import median
from typing import Any

import structlog
from redis import Redis, RedisError

from uvr.redis.lua import allow_oom

log = structlog.get_logger()

_SONGS_KEPT = 20

# KEYS: pace. ARGV: seconds, how many are kept.
_TELL = allow_oom("""
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
""")


class RecentDurations:
    """What the songs of all processors took; `records` is the name that the tasks' records stand under."""

    def __init__(self, client: Redis, records: str) -> None:
        self._client = client
        self._key = f"{records}:pace"
        self._tell = client.register_script(_TELL)

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
