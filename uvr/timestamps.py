"""Times as the service writes them: milliseconds since 1970 in records, ISO 8601 in UTC for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def now_ms() -> int:
    """The time of this machine, for people to read; nothing is ordered by it but lists."""
    return round(datetime.now(UTC).timestamp() * 1000)


def iso_time(time_ms: int) -> str | None:
    """`time_ms` as ISO 8601 in UTC, None for not yet."""
    return _iso(datetime.fromtimestamp(time_ms / 1000, UTC)) if time_ms else None


def iso_now() -> str:
    """The time of this machine as ISO 8601 in UTC."""
    return _iso(datetime.now(UTC))


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp_fields() -> dict[str, Any]:
    """The time of this machine for clients: `timestamp`, seconds since 1970, and `time`, ISO 8601 in UTC."""
    now = datetime.now(UTC)
    return {"timestamp": int(now.timestamp()), "time": _iso(now)}
