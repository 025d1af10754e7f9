"""What of an outage stands in the log."""

from __future__ import annotations

from typing import Any

import pytest
from redis import ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

from uvr.redis.outage_log import OutageLog

GONE, FULL = RedisConnectionError("Connection refused."), OutOfMemoryError("OOM: full")


def told(trouble: OutageLog, *errors: Exception) -> list[Any]:
    with capture_logs() as lines:
        for error in errors:
            trouble.failed(error)  # type: ignore[arg-type]
    return [(line["event"], line["log_level"]) for line in lines]


def test_the_same_trouble_is_told_once() -> None:
    assert told(OutageLog(), GONE, RedisConnectionError("Timeout."), GONE) == [("redis.unavailable", "warning")]


def test_other_trouble_is_news() -> None:
    assert len(told(OutageLog(), GONE, FULL, ResponseError("MISCONF a"), ResponseError("NOREPLICAS b"))) == 4


def test_trouble_that_lasts_is_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvr.redis.outage_log._REMIND_EVERY_S", 0)
    assert len(told(OutageLog(), GONE, GONE, GONE)) == 3


def test_what_no_waiting_mends_is_critical() -> None:
    assert told(OutageLog(), ResponseError("WRONGTYPE of key")) == [("redis.refused", "critical")]


def test_the_end_is_told_once_and_only_after_a_beginning() -> None:
    trouble = OutageLog(worker="w")
    with capture_logs() as lines:
        trouble.recovered()
        trouble.failed(GONE)
        trouble.recovered()
        trouble.recovered()
    assert [line["event"] for line in lines] == ["redis.unavailable", "redis.back"]
    assert {line["worker"] for line in lines} == {"w"}
    assert told(trouble, GONE) == [("redis.unavailable", "warning")]
