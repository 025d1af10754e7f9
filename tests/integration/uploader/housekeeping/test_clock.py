"""The clock of housekeeping is trusted only while it runs evenly and agrees with the clock of the node."""

from __future__ import annotations

import pytest
from redis import Redis

from uvr import timestamps
from uvr.uploader.housekeeping import clock as clock_module
from uvr.uploader.housekeeping.clock import HousekeepingClock

pytestmark = pytest.mark.every_redis

STATE = "uvr_tasks:retention"
MINUTE_MS, HOUR_MS, MONTH_MS = 60_000, 3_600_000, 31 * 86_400_000


class Clocks:
    """How far the clock of the node is ahead, and how much more of the steady clock has passed than really did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_ms = self.steady_extra_ms = 0
        monkeypatch.setattr(clock_module, "now_ms", lambda: timestamps.now_ms() + self.ahead_ms)
        monkeypatch.setattr(clock_module, "steady_ms", lambda: timestamps.steady_ms() + self.steady_extra_ms)

    def redis_jumps(self, by_ms: int) -> None:
        """By the steady clock, everything is as if the clock of Redis had been set, and that of the node with it."""
        self.steady_extra_ms -= by_ms


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def clock(redis_client: Redis) -> HousekeepingClock:
    return HousekeepingClock(redis_client, "uvr_tasks")


def another(redis_client: Redis) -> HousekeepingClock:
    """That of a process that has just started."""
    return HousekeepingClock(redis_client, "uvr_tasks")


@pytest.mark.parametrize(("ahead_ms", "sentence"), [(MONTH_MS, "44640 minutes ahead"), (-MONTH_MS, "minutes behind")])
def test_while_the_clocks_differ_nothing_has_passed(
    clock: HousekeepingClock, clocks: Clocks, ahead_ms: int, sentence: str
) -> None:
    clocks.ahead_ms = ahead_ms
    reading = clock.read()
    assert sentence in reading.distrust
    assert not reading.has_passed(0, 1)
    clocks.ahead_ms = 4 * MINUTE_MS
    reading = clock.read()
    assert (reading.distrust, reading.has_passed(0, 1)) == ("", True)


def test_the_wrong_clock_of_one_node_stops_no_other(
    clock: HousekeepingClock, clocks: Clocks, redis_client: Redis
) -> None:
    clocks.ahead_ms = MONTH_MS
    assert clock.read().distrust
    clocks.ahead_ms = 0
    assert another(redis_client).read().distrust == ""


@pytest.mark.parametrize("jump_ms", [MONTH_MS, -MONTH_MS, 6 * MINUTE_MS])
def test_after_a_jump_no_node_trusts_the_clock_for_an_hour(
    clock: HousekeepingClock, clocks: Clocks, redis_client: Redis, jump_ms: int
) -> None:
    assert clock.read().distrust == ""
    clocks.redis_jumps(jump_ms)
    assert "jumped" in clock.read().distrust
    assert "jumped" in clock.read().distrust
    assert "jumped" in another(redis_client).read().distrust
    redis_client.hincrby(STATE, "even_since_ms", -HOUR_MS)
    assert clock.read().distrust == another(redis_client).read().distrust == ""


def test_the_operator_need_not_wait_for_the_hour(clock: HousekeepingClock, clocks: Clocks) -> None:
    clock.read()
    clocks.redis_jumps(MONTH_MS)
    assert clock.read().distrust
    clock.trust()
    assert clock.read().distrust == ""


def test_a_round_that_comes_late_is_no_jump(clock: HousekeepingClock, redis_client: Redis) -> None:
    clock.read()
    redis_client.hincrby(STATE, "round_ms", -2 * HOUR_MS)  # no other process runs
    assert clock.read().distrust == ""


@pytest.mark.parametrize("stopped_ms", [2 * HOUR_MS, -MONTH_MS])
def test_a_start_after_a_long_stop_or_after_the_clock_was_set_back_waits_for_an_hour(
    redis_client: Redis, stopped_ms: int
) -> None:
    another(redis_client).read()
    redis_client.hincrby(STATE, "round_ms", -stopped_ms)
    assert "the service was stopped" in another(redis_client).read().distrust
    redis_client.hincrby(STATE, "even_since_ms", -HOUR_MS)
    assert another(redis_client).read().distrust == ""


def test_a_restart_keeps_the_trust(redis_client: Redis) -> None:
    another(redis_client).read()
    redis_client.hincrby(STATE, "round_ms", -30 * MINUTE_MS)
    assert another(redis_client).read().distrust == ""
