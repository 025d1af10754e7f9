"""What the service that this one replaces has promised to its clients, and this one keeps."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def assert_contract_time(answer: dict[str, Any]) -> None:
    """Take the time out of an answer or a webhook: `timestamp` like 1759034893, seconds and no float, and `time`."""
    timestamp, time = answer.pop("timestamp"), answer.pop("time")
    assert type(timestamp) is int
    assert 1_759_034_893 <= timestamp < 10_000_000_000  # neither milliseconds nor a time of the day
    assert time.endswith("Z")
    assert int(datetime.fromisoformat(time).timestamp()) == timestamp
