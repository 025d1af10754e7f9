"""The contract with clients that this service keeps from the one it replaces."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def assert_contract_time(answer: dict[str, Any]) -> None:
    """Check and remove the times in an answer or a webhook: `timestamp`, whole seconds since 1970, and `time`."""
    timestamp, time = answer.pop("timestamp"), answer.pop("time")
    assert type(timestamp) is int
    assert 1_759_034_893 <= timestamp < 10_000_000_000  # seconds since 1970, not milliseconds
    assert time.endswith("Z")
    assert int(datetime.fromisoformat(time).timestamp()) == timestamp
