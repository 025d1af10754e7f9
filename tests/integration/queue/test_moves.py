"""Items that move to another queue, one by one or all at once; on a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from redis_queue import RedisQueue, Sizes
from tests.support.leases import CHANGES, begin, claim, dead_ids, waiting_ids

pytestmark = pytest.mark.every_redis

NONE = dict.fromkeys(range(1, 6), 0)
EMPTY = Sizes(waiting=0, leased=0, delayed=0, dead=0, by_priority=NONE, oldest_s=NONE)


def submit(queue: RedisQueue, item_id: str = "a", priority: int = 3) -> None:
    queue.enqueue(item_id, priority, {"status": "queued", "created_ms": 1})


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", ["finish", "bury"])
def test_an_item_that_comes_again_replaces_what_is_left_of_it_in_any_state(
    tasks: RedisQueue, results: RedisQueue, change: Callable[[RedisQueue], None], step: str
) -> None:
    results.enqueue("a", 1)
    change(results)
    submit(tasks, priority=5)
    assert getattr(tasks, step)(claim(tasks), next_queue=results)
    sizes = results.sizes()
    assert sizes == Sizes(1, 0, 0, 0, {**NONE, 5: 1}, sizes.oldest_s)
    lease = claim(results)
    assert (lease.attempt, lease.priority, lease.failures, lease.crashes) == (1, 5, 0, 0)
    assert results.claim() is None


def test_a_worker_of_the_earlier_round_changes_nothing_in_the_new_one(tasks: RedisQueue, results: RedisQueue) -> None:
    results.enqueue("a", 3)
    earlier = begin(results)
    submit(tasks)
    tasks.finish(claim(tasks), next_queue=results)
    assert not results.extend(earlier)
    assert not results.finish(earlier)
    now = claim(results)
    assert not results.finish(earlier)
    assert results.finish(now)


def test_a_step_that_cannot_be_recorded_leaves_the_item_where_it_is(
    tasks: RedisQueue, results: RedisQueue, redis_client: Redis
) -> None:
    submit(tasks)
    lease = begin(tasks)
    redis_client.delete("tasks:task:a")
    redis_client.set("tasks:task:a", "no hash")
    for step in (tasks.finish, tasks.bury):
        with pytest.raises(ResponseError):
            step(lease, next_queue=results, record={"status": "done"})
    with pytest.raises(ResponseError):
        tasks.retry(lease, delay_s=0, record={"status": "queued"})
    assert tasks.holder("a") == lease.fence
    assert results.sizes() == EMPTY
    assert tasks.finish(lease, next_queue=results)


def test_an_evacuated_queue_is_empty_and_its_items_wait_in_the_other_one(
    tasks: RedisQueue, results: RedisQueue, redis_client: Redis
) -> None:
    for item_id, priority in (("leased", 3), ("delayed", 3), ("low", 1), ("urgent", 5), ("middle", 3)):
        submit(tasks, item_id, priority)
        tasks.finish(claim(tasks), next_queue=results, record={"status": "uploading"})
    taken = {lease.id: lease for lease in (begin(results), begin(results), begin(results))}
    results.retry(taken["delayed"], delay_s=3600)
    results.release(taken["urgent"])
    submit(tasks, "earlier", 3)
    assert results.evacuate(tasks, {"status": "queued", "progress": 0}) == [
        "urgent",
        "leased",
        "delayed",
        "middle",
        "low",
    ]
    assert results.evacuate(tasks) == []
    assert results.sizes() == EMPTY
    assert waiting_ids(tasks) == ["urgent", "earlier", "leased", "delayed", "middle", "low"]
    assert redis_client.hgetall("tasks:task:leased") == {"status": "queued", "created_ms": "1", "progress": "0"}
    assert not results.finish(taken["leased"], record={"status": "success"})
    assert redis_client.hget("tasks:task:leased", "status") == "queued"


def test_an_evacuation_leaves_dead_letters_and_foreign_members_behind(
    tasks: RedisQueue, results: RedisQueue, redis_client: Redis
) -> None:
    results.enqueue("dead", 3)
    results.bury(claim(results))
    redis_client.zadd("results", {"of another program": 1.0})
    assert results.evacuate(tasks) == []
    assert dead_ids(results) == ["dead"]
    assert redis_client.zrange("results:foreign", 0, -1) == ["of another program"]


def test_a_large_queue_is_evacuated_in_parts(tasks: RedisQueue, results: RedisQueue) -> None:
    ids = [f"item{number}" for number in range(25)]
    for item_id in ids:
        results.enqueue(item_id, 3)
    parts = [results.evacuate(tasks, limit=10) for _ in range(4)]
    assert parts == [ids[:10], ids[10:20], ids[20:], []]
    assert waiting_ids(tasks, 100) == ids


def test_an_evacuated_item_starts_again_even_if_it_is_leased_there(tasks: RedisQueue, results: RedisQueue) -> None:
    tasks.enqueue("a", 3)
    earlier = begin(tasks)
    results.enqueue("a", 3)
    assert results.evacuate(tasks) == ["a"]
    assert not tasks.finish(earlier)
    assert tasks.finish(claim(tasks))
    assert tasks.claim() is None


def test_an_item_is_either_finished_or_evacuated_while_both_go_on(
    tasks: RedisQueue, results: RedisQueue, redis_client: Redis
) -> None:
    ids = {f"item{number}" for number in range(400)}
    for item_id in ids:
        results.enqueue(item_id, 3)
    finished: list[str] = []
    moved: list[str] = []

    def store() -> None:
        while lease := results.claim():
            if results.extend(lease) and results.finish(lease):
                finished.append(lease.id)

    def evacuate() -> None:
        while part := results.evacuate(tasks, limit=7):
            moved.extend(part)

    at_once(store, store, evacuate)
    assert sorted(finished + moved) == sorted(ids)
    assert sorted(waiting_ids(tasks, 1000)) == sorted(moved)
    assert results.sizes() == EMPTY
    assert not redis_client.keys("results:item:*")


def at_once(*targets: Callable[[], None]) -> None:
    """Run all of them in parallel, to their end."""
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
