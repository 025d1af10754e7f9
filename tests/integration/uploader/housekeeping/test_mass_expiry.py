"""A round that would delete more than half of what is there stops, and what it stopped for goes a day later."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from redis import Redis

from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.mass_expiry import Cutoff, MassExpiry

pytestmark = pytest.mark.every_redis

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
NOW_MS = now_ms()
BEFORE_MS = NOW_MS - 30 * DAY_MS


class Things:
    """Things that ended at given times, and what a round may delete of them."""

    def __init__(self, redis_client: Redis) -> None:
        self.mass_expiry = MassExpiry(redis_client, "uvr_tasks")
        self.ended_ms: list[int] = []

    def cutoff(self, now_ms: int = NOW_MS) -> Cutoff:
        before_ms = BEFORE_MS + now_ms - NOW_MS
        return self.mass_expiry.cutoff(
            "tasks", before_ms, ClockReading(now_ms), total=len(self.ended_ms), expired=self._expired(before_ms)
        )

    def delete(self, now_ms: int) -> Cutoff:
        """A round."""
        cutoff = self.cutoff(now_ms)
        self.ended_ms = [ended_ms for ended_ms in self.ended_ms if ended_ms >= cutoff.before_ms]
        return cutoff

    def _expired(self, before_ms: int) -> Callable[[int], Iterator[int]]:
        return lambda since_ms: (ended_ms for ended_ms in self.ended_ms if since_ms <= ended_ms < before_ms)


@pytest.fixture
def things(redis_client: Redis) -> Things:
    return Things(redis_client)


def test_half_of_everything_goes_at_once(things: Things) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 20 + [NOW_MS] * 20
    assert things.cutoff() == Cutoff(BEFORE_MS)


def test_a_few_things_go_even_if_they_are_all_there_are(things: Things) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 10
    assert things.cutoff() == Cutoff(BEFORE_MS)


def test_more_than_half_are_kept_and_the_reason_says_until_when(things: Things) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 21 + [NOW_MS] * 20
    cutoff = things.delete(NOW_MS)
    assert len(things.ended_ms) == 41
    assert "More than half of all tasks" in cutoff.problem
    until = re.search(r"until (\S+):", cutoff.problem)
    assert until
    assert abs(datetime.fromisoformat(until[1]).timestamp() * 1000 - NOW_MS - DAY_MS) < DAY_MS / 24


def test_after_a_day_goes_what_had_expired_then_and_nothing_else(things: Things) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 40
    things.delete(NOW_MS)
    things.ended_ms += [BEFORE_MS + 1] * 1000
    assert things.delete(NOW_MS + DAY_MS - HOUR_MS).problem
    assert len(things.ended_ms) == 1040
    assert things.delete(NOW_MS + DAY_MS + HOUR_MS).problem, "the others expired later, and so many at once"
    assert things.ended_ms == [BEFORE_MS + 1] * 1000
    things.delete(NOW_MS + 3 * DAY_MS)
    assert things.ended_ms == []


def test_a_confirmation_holds_until_everything_is_deleted_that_it_was_for(things: Things) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 40
    things.delete(NOW_MS)
    assert things.mass_expiry.confirm() == ["tasks"]
    for left in (40, 30, 20):  # a round that deletes a part
        things.ended_ms = things.ended_ms[:left]
        assert things.cutoff(NOW_MS + 1).before_ms >= BEFORE_MS
    assert things.mass_expiry.confirm() == []


def test_what_was_noted_is_forgotten_when_so_much_is_no_longer_old(things: Things) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 40
    things.delete(NOW_MS)
    things.ended_ms = [NOW_MS] * 40  # the retention time was wrong
    assert things.cutoff(NOW_MS + 1).problem == ""
    things.ended_ms = [BEFORE_MS + DAY_MS] * 40
    assert things.cutoff(NOW_MS + 2 * DAY_MS).problem, "a new day begins"


def test_a_full_redis_can_become_empty_again(things: Things, redis_client: Redis) -> None:
    things.ended_ms = [BEFORE_MS - 1] * 40
    redis_client.config_set("maxmemory", 1)
    try:
        assert things.cutoff().problem
        assert things.mass_expiry.confirm() == ["tasks"]
        assert things.cutoff() == Cutoff(BEFORE_MS)
    finally:
        redis_client.config_set("maxmemory", 0)
