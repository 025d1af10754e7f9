"""When a leased item whose work has not begun should go back; on a real server."""

from __future__ import annotations

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import claim, expire, make_older, snapshot

pytestmark = pytest.mark.every_redis


def test_an_item_is_overtaken_by_a_higher_priority_only(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    for later in (1, 2, 3):
        queue.enqueue(f"later{later}", later)
        assert not queue.overtaken(lease)
    queue.enqueue("urgent", 4)
    assert queue.overtaken(lease)


def test_an_item_is_overtaken_by_an_earlier_one_that_came_back(queue: RedisQueue) -> None:
    for item_id in ("first", "second", "third"):
        queue.enqueue(item_id, 3)
    first, second, third = (claim(queue) for _ in range(3))
    queue.release(third)
    assert not queue.overtaken(second)
    queue.release(first)
    assert queue.overtaken(second)


def test_a_delayed_item_overtakes_once_it_is_due(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("urgent", 5)
    queue.enqueue("a", 3)
    queue.retry(claim(queue), delay_s=1000)
    lease = claim(queue)
    assert not queue.overtaken(lease)
    redis_client.zadd("tasks:delayed", {"urgent": 0})
    assert queue.overtaken(lease)


def test_an_idle_worker_gets_what_others_have_not_begun(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    assert queue.claim(idle="other") is None
    assert queue.overtaken(lease, own="mine")
    assert not queue.overtaken(lease, own="other"), "a worker is no rival of itself"
    assert not queue.overtaken(lease), "a worker that can begin at once does not ask about idle ones"


def test_a_worker_that_found_an_item_is_no_longer_idle(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    assert queue.claim(idle="other") is None
    queue.enqueue("b", 3)
    claim(queue, idle="other")
    assert not queue.overtaken(lease, own="mine")


def test_a_worker_that_stopped_claiming_is_no_longer_idle(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    assert queue.claim(idle="other") is None
    redis_client.zincrby("tasks:idle", -6000, "other")
    assert not queue.overtaken(lease, own="mine")
    assert queue.claim(idle="mine") is None
    assert redis_client.zrange("tasks:idle", 0, -1) == ["mine"]


def test_a_worker_without_a_name_does_not_count_as_idle(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    assert queue.claim() is None
    assert not queue.overtaken(lease)


def test_a_lost_lease_is_overtaken(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    expire(queue, redis_client, lease)
    queue.reap()
    assert queue.overtaken(lease)
    claim(queue)
    assert queue.overtaken(lease)


def test_an_item_that_waited_too_long_overtakes_and_is_not_overtaken(redis_client: Redis) -> None:
    fair = RedisQueue(redis_client, "tasks", max_wait_s=60)
    fair.enqueue("high", 5)
    high = claim(fair)
    fair.enqueue("old", 1)
    assert not fair.overtaken(high)
    fair.release(high)
    make_older(fair, "old", seconds=61)
    old = claim(fair)
    assert old.id == "old"
    assert not fair.overtaken(old), "or it would be put back and claimed again for ever"
    high = claim(fair)
    fair.release(old)
    assert fair.overtaken(high)


def test_overtaken_changes_nothing(queue: RedisQueue, redis_client: Redis) -> None:
    for item_id, priority in (("a", 3), ("b", 3), ("c", 5)):
        queue.enqueue(item_id, priority)
    leases = [claim(queue) for _ in range(2)]
    before = snapshot(redis_client)
    for lease in leases:
        queue.overtaken(lease)
    assert snapshot(redis_client) == before
