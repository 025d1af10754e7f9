"""Items that are added again, and waiting for delayed ones; on a real server."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import claim, dead_ids
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.every_redis

RECORD = {"status": "success", "created_ms": 1}


def test_an_item_that_is_gone_is_added_once_more(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, RECORD)
    queue.finish(claim(queue))
    assert queue.renew("a", 5, {"note": "again"})
    assert (claim(queue).priority, redis_client.hget("tasks:task:a", "note")) == (5, "again")


def test_a_delayed_item_starts_again_at_once(queue: RedisQueue) -> None:
    queue.enqueue("a", 3, RECORD)
    queue.retry(claim(queue), delay_s=1000)
    assert queue.renew("a", 3)
    lease = claim(queue)
    assert (lease.attempt, lease.failures) == (1, 0)
    assert queue.sizes().delayed == 0


def test_a_dead_letter_starts_again_and_is_no_dead_letter_any_more(queue: RedisQueue) -> None:
    queue.enqueue("a", 3, RECORD)
    queue.bury(claim(queue))
    assert queue.renew("a", 3)
    assert dead_ids(queue) == []
    assert claim(queue).id == "a"


def test_an_item_that_waits_or_is_leased_stays_as_it_is(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, RECORD)
    assert not queue.renew("a", 3, {"note": "again"})
    lease = claim(queue)
    assert not queue.renew("a", 3, {"note": "again"})
    assert queue.finish(lease)
    assert not redis_client.hexists("tasks:task:a", "note")


def test_an_item_without_a_record_is_not_added(queue: RedisQueue) -> None:
    assert not queue.renew("deleted", 3, RECORD)
    assert queue.claim() is None


def test_waiting_ends_when_a_delayed_item_is_due(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, RECORD)
    queue.retry(claim(queue), delay_s=0.3)
    redis_client.delete("tasks:wake")
    began = time.monotonic()
    queue.wait(2 * PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S
    time.sleep(0.01)
    assert claim(queue).id == "a"
    assert queue.claim() is None


def test_there_is_no_wait_for_an_item_that_is_due_already(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, RECORD)
    queue.retry(claim(queue), delay_s=1000)
    redis_client.delete("tasks:wake")
    redis_client.zadd("tasks:delayed", {"a": 0})
    began = time.monotonic()
    queue.wait(2 * PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S
