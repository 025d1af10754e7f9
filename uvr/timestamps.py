"""Timestamps: milliseconds since 1970 in records, ISO 8601 in UTC for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

# Goes on while a machine is suspended, unlike the monotonic clock of Linux; other systems lack it.
_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ms() -> int:
    """The clock of this machine, which may be wrong: for people only. What is decided goes by the time of Redis."""
    return round(time.time() * 1000)


def steady_ms() -> int:
    """A clock of this machine that is never set and so never jumps; it starts anywhere."""
    return round(time.clock_gettime(_STEADY_CLOCK) * 1000)


def iso_time(time_ms: int) -> str | None:
    """`time_ms` as ISO 8601 in UTC; None for 0, which means "not yet"."""
    return _iso(datetime.fromtimestamp(time_ms / 1000, UTC)) if time_ms else None


def iso_now() -> str:
    """The clock of this machine as ISO 8601 in UTC."""
    return _iso(datetime.now(UTC))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp_fields() -> dict[str, Any]:
    """The time of this machine for clients: `timestamp`, seconds since 1970, and `time`, ISO 8601 in UTC."""
    now = datetime.now(UTC)
    return {"timestamp": int(now.timestamp()), "time": _iso(now)}
