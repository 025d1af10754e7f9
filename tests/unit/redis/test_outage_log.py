"""What the log says about an outage."""

from __future__ import annotations

from typing import Any

import pytest
from redis import ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

from uvr.redis.outage_log import OutageLog

GONE, FULL = RedisConnectionError("Connection refused."), OutOfMemoryError("OOM: full")


def logged(outage: OutageLog, *errors: Exception) -> list[Any]:
    with capture_logs() as lines:
        for error in errors:
            outage.failed(error)  # type: ignore[arg-type]
    return [(line["event"], line["log_level"]) for line in lines]


def test_the_same_outage_is_logged_once() -> None:
    assert logged(OutageLog(), GONE, RedisConnectionError("Timeout."), GONE) == [("redis.unavailable", "warning")]


def test_another_kind_of_error_is_logged_at_once() -> None:
    assert len(logged(OutageLog(), GONE, FULL, ResponseError("MISCONF a"), ResponseError("NOREPLICAS b"))) == 4


def test_an_outage_that_lasts_is_logged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvr.redis.outage_log._REMIND_EVERY_S", 0)
    assert len(logged(OutageLog(), GONE, GONE, GONE)) == 3


def test_an_error_that_waiting_does_not_help_is_critical() -> None:
    assert logged(OutageLog(), ResponseError("WRONGTYPE of key")) == [("redis.refused", "critical")]


def test_the_end_is_logged_once_and_only_after_a_beginning() -> None:
    outage = OutageLog(worker="w")
    with capture_logs() as lines:
        outage.recovered()
        outage.failed(GONE)
        outage.recovered()
        outage.recovered()
    assert [line["event"] for line in lines] == ["redis.unavailable", "redis.back"]
    assert {line["worker"] for line in lines} == {"w"}
    assert logged(outage, GONE) == [("redis.unavailable", "warning")]
