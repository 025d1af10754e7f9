"""The clock by which housekeeping judges ages, and whether it can be trusted: a wrong clock makes everything look old.

The time is that of Redis, which all nodes share. The clock of this node is compared with it, because it has dated the
files on this disk. While the two differ by more than five minutes, nothing counts as old here. Nor does anything count
as old, on any node, until the clock of Redis has run evenly for an hour: after it has jumped against a clock that is
never set, or after the whole service was stopped for more than an hour, which looks the same to a process that starts.

    R:retention   Hash   round_ms       the time of the last round on any node
                         even_since_ms  since when the clock has run evenly, 0 for ever
                         more in `uvr.uploader.housekeeping.mass_expiry`
"""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from uvr.redis import scripts
from uvr.timestamps import iso_time, now_ms, steady_ms

KEPT = "Nothing is deleted because of its age:"

_MAX_DIFFERENCE_MS = 5 * 60_000
_EVEN_FOR_MS = 3_600_000
_MAX_STOP_MS = 3_600_000


@dataclass(frozen=True)
class ClockReading:
    """The time of Redis in ms since 1970; `distrust` is a sentence that says why it decides nothing now, else ""."""

    now_ms: int
    distrust: str = ""

    def has_passed(self, since_ms: float, period_ms: float) -> bool:
        """Whether at least `period_ms` have passed since `since_ms`, as far as the clocks can be trusted."""
        return not self.distrust and self.now_ms - since_ms >= period_ms


class HousekeepingClock:
    """Reads the clock once a round; `root` is the prefix of the keys."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._root = root
        self._script = scripts.register(client, "retention/clock")
        self._last: tuple[int, int] | None = None  # steady ms and Redis ms of the last reading

    def read(self) -> ClockReading:
        """The time, and whether it can be trusted. May raise `redis.RedisError`."""
        steady = steady_ms()
        expected = self._last[1] + steady - self._last[0] if self._last else ""
        found = self._script(keys=[self._root], args=[expected, _MAX_DIFFERENCE_MS, _MAX_STOP_MS])
        now, even_since = map(int, found)
        self._last = (steady, now)
        return ClockReading(now, _difference(now_ms() - now) or _unevenness(now, even_since))

    def trust(self) -> None:
        """Do not wait until the clock has run evenly. May raise `redis.RedisError`."""
        self._client.hdel(f"{self._root}:retention", "even_since_ms")


def _difference(ahead_ms: int) -> str:
    if abs(ahead_ms) <= _MAX_DIFFERENCE_MS:
        return ""
    direction = "ahead of" if ahead_ms > 0 else "behind"
    minutes = abs(ahead_ms) // 60_000
    return f"{KEPT} the clock of a node is {minutes} minutes {direction} the clock of Redis. Set both (NTP)."


def _unevenness(now: int, even_since: int) -> str:
    if now - even_since >= _EVEN_FOR_MS:
        return ""
    return (
        f"{KEPT} the clock of Redis jumped to {iso_time(even_since)}, or the service was stopped until then. If the "
        "clock is right, deletion goes on an hour later, or after `python -m uvr retention confirm`."
    )
