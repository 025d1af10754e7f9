"""Timestamps: milliseconds since 1970 in records, ISO 8601 in UTC for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def now_ms() -> int:
    """The clock of this machine, for people and for the order of lists; queues use the time of Redis."""
    return round(datetime.now(UTC).timestamp() * 1000)


def iso_time(time_ms: int) -> str | None:
    """`time_ms` as ISO 8601 in UTC; None for 0, which means "not yet"."""
    return _iso(datetime.fromtimestamp(time_ms / 1000, UTC)) if time_ms else None


def iso_now() -> str:
    """The clock of this machine as ISO 8601 in UTC."""
    return _iso(datetime.now(UTC))


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp_fields() -> dict[str, Any]:
    """The time of this machine for clients: `timestamp`, seconds since 1970, and `time`, ISO 8601 in UTC."""
    now = datetime.now(UTC)
    return {"timestamp": int(now.timestamp()), "time": _iso(now)}
