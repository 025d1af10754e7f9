"""Other priorities for items that wait: the place that they would have had from the start; on a real server."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from redis_queue import PRIORITIES, RedisQueue
from tests.support.leases import CHANGES, become_delayed, claim, make_older, snapshot, stay_waiting

pytestmark = pytest.mark.every_redis

RECORD = {"status": "queued", "created_ms": 1, "owner": "anna", "priority": 3}


def claimed(queue: RedisQueue) -> list[str]:
    found = []
    while lease := queue.claim():
        found.append(lease.id)
    return found


def state_without_turns(queue: RedisQueue, client: Redis) -> dict[str, object]:
    """The places of all items and their lines."""
    keys = [queue.name, f"{queue.name}:ages", *client.keys(f"{queue.name}:line:*")]
    return {key: client.zrange(key, 0, -1, withscores=True) for key in keys}


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    priorities=st.lists(st.tuples(st.sampled_from(PRIORITIES), st.integers(0, 50)), min_size=1, max_size=8),
    changes=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(PRIORITIES)), max_size=12),
)
def test_items_stand_as_if_they_had_been_added_with_their_last_priority(
    redis_client: Redis, priorities: list[tuple[int, int]], changes: list[tuple[int, int]]
) -> None:
    redis_client.flushall()
    changed, fresh = RedisQueue(redis_client, "changed"), RedisQueue(redis_client, "fresh")
    last = [priority for priority, _ in priorities]
    for number, (priority, age_s) in enumerate(priorities):
        assert changed.enqueue(str(number), priority, RECORD).accepted
        make_older(changed, str(number), age_s)
    for number, priority in changes:
        if number < len(last):
            last[number] = priority
            assert changed.reprioritize(str(number), priority)
    for number, (_, age_s) in enumerate(priorities):
        assert fresh.enqueue(str(number), last[number], RECORD).accepted
        seconds = float(redis_client.hget(f"changed:item:{number}", "score") or 0) / (6 - last[number])
        begun = float(redis_client.hget(f"fresh:item:{number}", "score") or 0) / (6 - last[number])
        make_older(fresh, str(number), round(begun - seconds))
        assert begun - seconds >= age_s
    places = state_without_turns(changed, redis_client)
    assert {key.replace("changed", "fresh"): place for key, place in places.items()} == state_without_turns(
        fresh, redis_client
    )
    assert [changed.position(str(number)) for number in range(len(last))] == [
        fresh.position(str(number)) for number in range(len(last))
    ]
    assert claimed(changed) == claimed(fresh)
    assert redis_client.keys("changed:line:*") == redis_client.zrange("changed:turns", 0, -1) == []


def test_a_delayed_item_has_its_new_priority_when_it_is_due(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, RECORD)
    become_delayed(queue)
    assert queue.reprioritize("a", 5, {"priority": 5})
    assert queue.claim() is None
    redis_client.zadd("tasks:delayed", {"a": 0})
    queue.enqueue("b", 4, RECORD)
    lease = claim(queue)
    assert (lease.id, lease.priority, redis_client.hget("tasks:task:a", "priority")) == ("a", 5, "5")


def test_the_priority_goes_on_in_the_next_queue(queue: RedisQueue, redis_client: Redis) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    queue.enqueue("a", 1, RECORD)
    assert queue.reprioritize("a", 4)
    queue.finish(claim(queue), next_queue=results)
    assert claim(results).priority == 4


def test_a_retry_stays_a_retry(queue: RedisQueue) -> None:
    queue.enqueue("a", 2, RECORD)
    queue.retry(claim(queue), delay_s=0)
    queue.enqueue("b", 5, RECORD)
    assert queue.reprioritize("a", 5)
    assert claimed(queue) == ["b", "a"]


def test_a_claimed_item_goes_back_for_one_whose_priority_was_raised(queue: RedisQueue) -> None:
    queue.enqueue("a", 3, RECORD)
    queue.enqueue("b", 3, RECORD)
    lease = claim(queue)
    assert not queue.overtaken(lease)
    queue.reprioritize("b", 4)
    assert queue.overtaken(lease)


@pytest.mark.parametrize("change", [change for change in CHANGES if change not in (stay_waiting, become_delayed)])
def test_an_item_that_no_longer_waits_stays_as_it_is(queue: RedisQueue, redis_client: Redis, change: object) -> None:
    queue.enqueue("a", 3, RECORD)
    change(queue)  # type: ignore[operator]
    before = snapshot(redis_client)
    assert not queue.reprioritize("a", 5, {"priority": 5})
    assert not queue.reprioritize("gone", 5, {"priority": 5})
    assert snapshot(redis_client) == before


def test_the_same_priority_changes_no_place(queue: RedisQueue, redis_client: Redis) -> None:
    for owner in ("anna", "bert"):
        queue.enqueue(owner, 3, {**RECORD, "owner": owner})
    before = snapshot(redis_client)
    assert queue.reprioritize("anna", 3, {"priority": 3})
    assert snapshot(redis_client) == before
