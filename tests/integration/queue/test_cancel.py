"""Items that are cancelled or deleted, even while a worker holds them; on a real server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import CHANGES, begin, claim, dead_ids, snapshot

pytestmark = pytest.mark.every_redis

ENDED = {"status": "cancelled"}


def submit(queue: RedisQueue, item_id: str = "a", status: str = "queued") -> None:
    assert queue.enqueue(item_id, 3, {"status": status, "created_ms": 1}).accepted


@pytest.mark.parametrize("change", CHANGES)
def test_an_item_is_cancelled_in_every_state(
    tasks: RedisQueue, redis_client: Redis, change: Callable[[RedisQueue], None]
) -> None:
    submit(tasks)
    change(tasks)
    assert tasks.cancel("a", [], ["queued"], ENDED)
    assert not tasks.contains("a")
    assert tasks.claim() is None
    assert (tasks.reap(), dead_ids(tasks)) == ([], [])
    assert redis_client.hget("tasks:task:a", "status") == "cancelled"
    assert redis_client.zrange("tasks:tasks:cancelled", 0, -1) == ["1:a"]
    assert redis_client.zrange("tasks:tasks:queued", 0, -1) == []


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_removed_from_the_other_queues_too(
    tasks: RedisQueue, results: RedisQueue, change: Callable[[RedisQueue], None]
) -> None:
    submit(results)
    change(results)
    assert tasks.cancel("a", [results], ["queued"], ENDED)
    assert not results.contains("a")


def test_a_worker_that_held_it_changes_nothing(tasks: RedisQueue, results: RedisQueue, redis_client: Redis) -> None:
    submit(tasks)
    lease = begin(tasks)
    assert tasks.cancel("a", [], ["queued"], ENDED)
    before = snapshot(redis_client)
    late = {"status": "success"}
    assert not tasks.extend(lease, late)
    assert not tasks.finish(lease, next_queue=results, record=late)
    assert not tasks.retry(lease, delay_s=0, record=late)
    assert not tasks.bury(lease, next_queue=results, record=late)
    assert tasks.holder("a") is None
    assert snapshot(redis_client) == before


def test_a_worker_that_held_it_changes_nothing_after_a_renewal(tasks: RedisQueue) -> None:
    submit(tasks)
    lease = begin(tasks)
    assert tasks.cancel("a", [], ["queued"], ENDED)
    assert tasks.renew("a", 3, {"status": "queued"}, statuses=["cancelled"])
    again = begin(tasks)
    assert not tasks.finish(lease)
    assert tasks.finish(again)


def test_an_item_with_another_status_is_left_alone(tasks: RedisQueue, redis_client: Redis) -> None:
    submit(tasks, status="uploading")
    before = snapshot(redis_client)
    assert not tasks.cancel("a", [], ["queued", "processing"], ENDED)
    assert not tasks.cancel("a", [], ["up", "loading"], ENDED)
    assert not tasks.cancel("unknown", [], ["queued"], ENDED)
    assert not tasks.renew("a", 3, {"status": "queued"}, statuses=["failed"])
    assert snapshot(redis_client) == before


def test_only_a_deletion_on_request_removes_a_live_item(
    tasks: RedisQueue, results: RedisQueue, redis_client: Redis
) -> None:
    submit(tasks)
    tasks.finish(claim(tasks), next_queue=results, record={"status": "failed"})
    assert not tasks.forget("a", [results], ["failed"])
    assert redis_client.exists("tasks:task:a")
    assert tasks.forget("a", [results], ["failed"], on_request=True)
    assert not redis_client.exists("tasks:task:a")
    assert not results.contains("a")
    assert redis_client.zrange("tasks:tasks", 0, -1) == []
    assert redis_client.zrange("tasks:deleted", 0, -1) == ["a"]


def test_deleted_ids_are_not_remembered_for_ever(tasks: RedisQueue, redis_client: Redis) -> None:
    redis_client.zadd("tasks:deleted", {"long ago": 1})
    submit(tasks, status="failed")
    assert tasks.forget("a", [], ["failed"], on_request=True)
    assert redis_client.zrange("tasks:deleted", 0, -1) == ["a"]
