"""The list of files that clients sent along, so that each one is found again whatever dies on the way.

A file is in the list before its first byte is stored and until it is gone. `RedisQueue.enqueue` notes, in the step that
makes the record, that the record has it; whoever clears a file away first takes it from those who could still enqueue
it. So no record ever names a file that is being deleted, and no file is forgotten.

    R:uploads   ZSet   key -> 0 once a record has it, else since when it waits for its record, ms, or -1: to be deleted
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis

from uvr.redis.lua import allow_oom, deny_oom

# KEYS: the list. ARGV: key, what stood beside it when it was looked at. Gives 1 if nobody was faster.
_CONDEMN = allow_oom("""
local beside = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not beside or tonumber(beside) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], -1, ARGV[1])
return 1
""")

# KEYS: the list. ARGV: key. Gives the time in ms.
_ADD = deny_oom("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
return now
""")


class UploadIndex:
    """The list below `root`. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._name = f"{root}:uploads"
        self._add = client.register_script(_ADD)
        self._condemn = client.register_script(_CONDEMN)

    def add(self, key: str) -> int:
        """Note that a file is about to be stored; gives what now stands beside it."""
        return int(self._add(keys=[self._name], args=[key]))

    def all(self) -> Iterator[tuple[str, int]]:
        """Each key with what stands beside it."""
        found: Any = self._client.zscan_iter(self._name, count=1000)
        return ((key, int(beside)) for key, beside in found)

    def __contains__(self, key: str) -> bool:
        """Whether the file is in the list."""
        return self._client.zscore(self._name, key) is not None

    def mark_for_deletion(self, key: str, beside: int) -> bool:
        """Let nobody take the file any more; False if something else stands beside it now than `beside`."""
        return bool(self._condemn(keys=[self._name], args=[key, beside]))

    def remove(self, key: str) -> None:
        """Forget a file that is gone."""
        self._client.zrem(self._name, key)

    def now_ms(self) -> int:
        """The time that files are listed with."""
        seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000
