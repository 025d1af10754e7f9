"""Which task a processor claims and separates next: real queues, and networks that take as long as a test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import claim, waiting_ids
from tests.support.scripted_processor import DOWNLOADS, Processor, leased, submit
from tests.support.waiting import PROMPT_S, eventually
from uvr.errors import CancelledError
from uvr.processor.scheduler import InferenceScheduler, InferenceSlot
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.shutdown import Shutdown


def test_only_one_task_is_claimed_ahead(queue: RedisQueue, new_processor: Callable[[], Processor]) -> None:
    for item_id in "abc":
        submit(queue, item_id)
    processor = new_processor()
    processor.start()
    assert leased(queue, "a", "b")
    time.sleep(0.5)
    assert waiting_ids(queue) == ["c"]
    processor.leaves("a")
    assert leased(queue, "c")
    eventually(lambda: processor.entered == ["a", "b"])


def test_the_next_task_enters_the_network_while_the_last_one_is_encoded(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    processor.encodes_slowly()
    for item_id in "ab":
        submit(queue, item_id)
    processor.start()
    processor.leaves("a")
    eventually(lambda: processor.entered == ["a", "b"])
    assert queue.holder("a")


def test_a_higher_priority_goes_before_a_task_that_was_claimed_ahead(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    submit(queue, "first")
    submit(queue, "low", 1)
    processor = new_processor()
    processor.start()
    assert leased(queue, "first", "low")
    submit(queue, "high", 5)
    assert leased(queue, "high"), "it is fetched while the first is still in the network"
    eventually(lambda: waiting_ids(queue) == ["low"])
    for item_id in ("first", "high", "low"):
        processor.leaves(item_id)
    eventually(lambda: processor.entered == ["first", "high", "low"])


def test_a_higher_priority_that_arrives_at_the_last_moment_goes_first(queue: RedisQueue) -> None:
    submit(queue, "low", 1)
    lease = claim(queue)
    turns = InferenceScheduler(queue, "mine", lambda: "", DOWNLOADS)
    submit(queue, "high", 5)
    heartbeat = Heartbeat(queue, lease, 15, Shutdown())
    with pytest.raises(CancelledError, match="goes before this one"):  # noqa: SIM117
        with InferenceSlot(turns, lease, heartbeat):
            raise AssertionError("it entered the network")
    queue.release(lease)
    high = claim(queue)
    with InferenceSlot(turns, high, heartbeat) as slot:
        assert high.id == "high"
    assert slot.waited_s < PROMPT_S


def test_of_two_waiting_tasks_the_first_in_line_enters_first_even_if_the_other_is_ready_earlier(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    submit(queue, "high", 5)
    submit(queue, "low", 1)
    processor = new_processor()
    processor.leaves("high")
    processor.leaves("low")
    processor.start()
    eventually(lambda: processor.entered == ["high", "low"])


def test_nothing_is_claimed_while_there_is_a_reason_against_it(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    processor.closed = "The disk is full."
    processor.start()
    submit(queue, "a")
    time.sleep(0.5)
    assert processor.entered == []
    processor.closed = ""
    eventually(lambda: processor.entered == ["a"])


def test_a_stop_releases_the_task_ahead_and_finishes_the_one_in_the_network(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[], Processor]
) -> None:
    for item_id in "ab":
        submit(queue, item_id)
    processor = new_processor()
    processor.start()
    assert leased(queue, "a", "b")
    threading.Timer(0.5, processor.leaves, ("a",)).start()
    processor.stop()
    assert processor.entered == ["a"]
    assert waiting_ids(queue) == ["b"]
    assert redis_client.hget("tasks:item:b", "failures") == "0"
