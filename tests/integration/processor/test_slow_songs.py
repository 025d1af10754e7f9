"""Songs that arrive slowly, or are turned away, take nothing from those that are there."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import waiting_ids
from tests.support.scripted_processor import DOWNLOADS, Processor, leased, submit
from tests.support.waiting import eventually
from uvr.metrics.definitions import UNSENT
from uvr.processor import scheduler, stages


def test_a_task_that_is_slow_to_arrive_does_not_delay_the_next_one(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    submit(queue, "slow", 5)
    submit(queue, "quick", 1)
    processor = new_processor()
    processor.fetches_slowly("slow")
    processor.start()
    eventually(lambda: processor.entered == ["quick"])


def test_slow_downloads_never_keep_a_song_that_arrives_from_the_network(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    for number in range(DOWNLOADS - 1):
        processor.fetches_slowly(f"slow-{number}")
        submit(queue, f"slow-{number}", 5)
    for item_id in "abc":
        submit(queue, item_id)
        processor.leaves(item_id)
    processor.start()
    eventually(lambda: processor.entered == ["a", "b", "c"])
    assert leased(queue, "slow-0", "slow-1", "slow-2")


def test_a_slow_song_enters_the_network_in_its_turn_once_it_has_arrived(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    processor = new_processor()
    processor.fetches_slowly("slow")
    for item_id in ("slow", "a", "b", "c"):
        submit(queue, item_id)
    processor.start()
    eventually(lambda: processor.entered == ["a"])
    assert leased(queue, "b")
    processor.arrives("slow")
    time.sleep(0.5)
    assert waiting_ids(queue) == ["c"]
    for item_id in ("a", "b", "slow", "c"):
        processor.leaves(item_id)
    eventually(lambda: len(processor.entered) == 4)
    assert (processor.entered[0], processor.entered[-1]) == ("a", "c")
    assert set(processor.claims.values()) == {1}


def test_a_slow_song_that_a_higher_priority_overtakes_keeps_what_it_has_downloaded(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    processor = new_processor()
    processor.fetches_slowly("slow")
    submit(queue, "slow", 1)
    processor.start()
    assert leased(queue, "slow")
    submit(queue, "a", 3)
    eventually(lambda: processor.entered == ["a"])
    submit(queue, "b", 3)
    assert leased(queue, "b")
    submit(queue, "high", 5)
    processor.arrives("slow")
    for item_id in ("a", "high", "b", "slow"):
        processor.leaves(item_id)
    eventually(lambda: processor.entered == ["a", "high", "b", "slow"])
    assert processor.claims == {"slow": 1, "a": 1, "b": 2, "high": 1}


def test_the_processor_says_when_the_network_waits_for_downloads_only(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_LONG_WAIT_S", 0.5)
    processor = new_processor()
    processor.leaves("quick")
    processor.fetches_slowly("slow")
    submit(queue, "slow")
    assert processor.why_idle() == ""
    processor.start()
    message = "The network has nothing to do: the only claimed song is still being downloaded."
    eventually(lambda: processor.why_idle() == message)
    UNSENT.take()
    assert processor.why_idle() == message
    assert UNSENT.take()["uvr_network_download_wait_seconds_total", ""] > 0
    processor.arrives("slow")
    eventually(lambda: processor.entered == ["slow"])
    assert processor.why_idle() == ""


def test_a_task_that_is_turned_away_pauses_the_claims_for_a_moment_only(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    for number in range(10):
        processor.turns_away(f"excess-{number}")
        submit(queue, f"excess-{number}")
    submit(queue, "welcome")
    processor.start()
    eventually(lambda: processor.entered == ["welcome"])
    assert redis_client.zcard("tasks:delayed") == 10
    assert redis_client.hget("tasks:item:excess-0", "failures") == "0"


def test_tasks_that_are_turned_away_again_and_again_take_nothing_from_those_behind_them(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    processor = new_processor()
    for number in range(DOWNLOADS - 1):
        processor.turns_away(f"excess-{number}", for_s=1)
        submit(queue, f"excess-{number}", 5)
        processor.fetches_slowly(f"slow-{number}")
        submit(queue, f"slow-{number}", 5)
    for item_id in "abc":
        submit(queue, item_id)
    processor.start()
    eventually(lambda: processor.entered == ["a"])
    assert leased(queue, "b")
    claims = processor.claims["excess-0"]
    eventually(lambda: processor.claims["excess-0"] > claims)
    submit(queue, "high", 4)
    assert leased(queue, "high"), "it is found among them"
    eventually(lambda: queue.holder("b") is None)
    for item_id in ("a", "high", "b", "c"):
        processor.leaves(item_id)
    eventually(lambda: len(processor.entered) == 4)
    assert processor.entered == ["a", "high", "b", "c"]
    assert [processor.claims[item_id] for item_id in ("a", "b", "c")] == [1, 2, 1]
