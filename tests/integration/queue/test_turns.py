"""Owners of items who take turns, limits of what they run at once, and queues that an older version uses, too."""

from __future__ import annotations

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import begin, claim, expire, make_older

pytestmark = pytest.mark.every_redis


def submit(queue: RedisQueue, owner: str, count: int, *, priority: int = 3) -> None:
    """Add items `{owner}1`, `{owner}2` … of an owner."""
    for number in range(1, count + 1):
        record = {"status": "queued", "created_ms": 1, "owner": owner}
        assert queue.enqueue(f"{owner}{number}", priority, record).accepted


def claimed(queue: RedisQueue, count: int) -> list[str]:
    return [claim(queue).id for _ in range(count)]


def limited(client: Redis, max_running: int, max_wait_s: int = 0) -> RedisQueue:
    return RedisQueue(client, "tasks", max_running=max_running, max_wait_s=max_wait_s)


def test_one_item_waits_for_no_more_than_one_of_a_thousand(queue: RedisQueue) -> None:
    submit(queue, "greedy", 1000)
    claimed(queue, 10)
    submit(queue, "bert", 1)
    assert queue.position("bert1") == 1
    assert claimed(queue, 3) == ["greedy11", "bert1", "greedy12"]


def test_three_owners_take_turns(queue: RedisQueue) -> None:
    for owner in ("carl", "anna", "bert"):
        submit(queue, owner, 3)
    expected = [f"{owner}{number}" for number in (1, 2, 3) for owner in ("carl", "anna", "bert")]
    assert [queue.position(item_id) for item_id in expected] == list(range(9))
    assert claimed(queue, 9) == expected


def test_a_higher_priority_goes_first_whose_turn_it_may_be(queue: RedisQueue) -> None:
    submit(queue, "anna", 1, priority=3)
    submit(queue, "bert", 3, priority=4)
    assert claimed(queue, 4) == ["bert1", "bert2", "bert3", "anna1"]


@pytest.mark.parametrize("counts_as", ["failures", "crashes"])
def test_a_retry_waits_behind_all_first_tries_of_its_priority(queue: RedisQueue, counts_as: str) -> None:
    submit(queue, "anna", 3)
    submit(queue, "bert", 1)
    submit(queue, "carl", 1, priority=2)
    queue.retry(claim(queue), delay_s=0, counts_as=counts_as)
    assert [queue.position(item_id) for item_id in ("bert1", "anna2", "anna3", "anna1", "carl1")] == [0, 1, 2, 3, 4]
    assert claimed(queue, 5) == ["bert1", "anna2", "anna3", "anna1", "carl1"]


def test_a_worker_that_died_makes_its_item_a_retry(queue: RedisQueue, redis_client: Redis) -> None:
    submit(queue, "anna", 2)
    expire(queue, redis_client, begin(queue))
    assert queue.reap() == ["anna1"]
    assert claimed(queue, 2) == ["anna2", "anna1"]


def test_a_revived_dead_letter_is_a_first_try(queue: RedisQueue) -> None:
    submit(queue, "anna", 2)
    queue.retry(claim(queue), delay_s=0)
    assert claim(queue).id == "anna2"
    queue.bury(claim(queue))
    submit(queue, "bert", 1)
    assert queue.revive("anna1")
    assert claimed(queue, 2) == ["bert1", "anna1"]


def test_an_item_that_is_released_gives_its_owner_the_turn_back(queue: RedisQueue) -> None:
    submit(queue, "anna", 2)
    submit(queue, "bert", 2)
    first = claim(queue)
    assert claim(queue).id == "bert1"
    assert queue.release(first)
    assert claimed(queue, 3) == ["anna1", "bert2", "anna2"]


def test_cancelled_items_cost_their_owner_nothing(queue: RedisQueue) -> None:
    submit(queue, "anna", 100)
    submit(queue, "bert", 3)
    for number in range(1, 100):
        assert queue.cancel(f"anna{number}", [], ["queued"])
    assert claimed(queue, 4) == ["anna100", "bert1", "bert2", "bert3"]


def test_an_item_that_waited_too_long_costs_its_owner_no_turn(redis_client: Redis) -> None:
    queue = limited(redis_client, 0, max_wait_s=60)
    submit(queue, "anna", 2)
    submit(queue, "bert", 2)
    make_older(queue, "anna1", 61)
    assert claimed(queue, 4) == ["anna1", "anna2", "bert1", "bert2"]


def test_turns_go_on_in_the_next_queue(queue: RedisQueue, redis_client: Redis) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    for owner in ("anna", "bert"):
        submit(queue, owner, 2, priority=3 if owner == "anna" else 2)
    while lease := queue.claim():
        queue.finish(lease, next_queue=results)
    submit(queue, "carl", 1)
    queue.finish(claim(queue), next_queue=results)
    assert claimed(results, 5) == ["anna1", "carl1", "anna2", "bert1", "bert2"]


def test_items_of_an_owner_at_the_limit_are_passed_over(redis_client: Redis) -> None:
    queue = limited(redis_client, 2)
    submit(queue, "greedy", 50, priority=5)
    submit(queue, "bert", 1)
    first = claim(queue)
    assert claimed(queue, 2) == ["greedy2", "bert1"]
    assert queue.claim() is None
    assert queue.finish(first)
    assert redis_client.exists("tasks:wake"), "a worker that waits looks again"
    assert claim(queue).id == "greedy3"


def test_a_lost_lease_counts_for_no_limit(redis_client: Redis) -> None:
    queue = limited(redis_client, 1)
    submit(queue, "anna", 2)
    expire(queue, redis_client, begin(queue))
    assert queue.claim() is None
    assert queue.reap() == ["anna1"]
    assert claimed(queue, 1) == ["anna2"]
    redis_client.zrem("tasks:lease", "anna2")  # as an older version ends a lease
    assert claimed(queue, 1) == ["anna1"]


def test_an_owner_at_the_limit_keeps_no_old_item_of_another_waiting(redis_client: Redis) -> None:
    queue = limited(redis_client, 1, max_wait_s=60)
    submit(queue, "greedy", 30, priority=1)
    make_older(queue, "greedy1", 200)
    make_older(queue, "greedy2", 100)
    submit(queue, "bert", 1, priority=1)
    make_older(queue, "bert1", 61)
    submit(queue, "carl", 1, priority=5)
    assert claimed(queue, 3) == ["greedy1", "bert1", "carl1"]


def test_an_item_without_an_owner_has_no_limit(redis_client: Redis) -> None:
    queue = limited(redis_client, 1)
    queue.enqueue("a", 3)
    queue.enqueue("b", 3)
    assert claimed(queue, 2) == ["a", "b"]


def test_an_item_claimed_ahead_goes_back_for_one_of_the_same_owner_at_the_limit(redis_client: Redis) -> None:
    queue = limited(redis_client, 1)
    submit(queue, "anna", 1)
    ahead = claim(queue)
    assert not queue.overtaken(ahead)
    assert queue.enqueue("urgent", 5, {"status": "queued", "created_ms": 1, "owner": "anna"}).accepted
    assert queue.overtaken(ahead)


def forget_lines(client: Redis) -> None:
    """Leave the queue as a version leaves it that knows no lines and no owners of items."""
    client.delete("tasks:turns", "tasks:turn", "tasks:ages", *client.keys("tasks:line:*"))
    for key in client.keys("tasks:item:*"):
        client.hdel(key, "owner", "line", "turn")


def test_items_of_an_older_version_are_claimed_in_turns_too(queue: RedisQueue, redis_client: Redis) -> None:
    submit(queue, "anna", 150)
    submit(queue, "bert", 150)
    held = claim(queue)
    forget_lines(redis_client)
    assert queue.release(held)
    submit(queue, "carl", 1)
    for _ in range(4):
        queue.reap()
    assert sorted(claimed(queue, 3)) == ["anna1", "bert1", "carl1"]
    assert len(set(claimed(queue, 298))) == 298
    assert queue.claim() is None


def test_first_tries_of_an_older_version_keep_their_order_without_any_sweep(
    queue: RedisQueue, redis_client: Redis
) -> None:
    submit(queue, "admin", 250)
    forget_lines(redis_client)
    for number in (251, 252):
        queue.enqueue(f"admin{number}", 3, {"status": "queued", "created_ms": 1, "owner": "admin"})
    assert claimed(queue, 252) == [f"admin{number}" for number in range(1, 253)]


def test_items_that_an_older_version_has_claimed_are_not_claimed_again(queue: RedisQueue, redis_client: Redis) -> None:
    submit(queue, "anna", 250)
    redis_client.zpopmin("tasks", 249)
    found = [lease.id for _ in range(4) if (lease := queue.claim())]
    assert found == ["anna250"]


def test_an_index_that_the_server_evicted_is_made_again(queue: RedisQueue, redis_client: Redis) -> None:
    for evicted in ("tasks:turns", "tasks:line:4:anna", "tasks:ages"):
        submit(queue, "anna", 3)
        redis_client.delete(evicted)
        assert claimed(queue, 3) == ["anna1", "anna2", "anna3"]
        redis_client.flushall()
