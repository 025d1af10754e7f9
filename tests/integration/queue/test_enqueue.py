"""Why the queue refuses an item, and that a refused item leaves nothing; on a real server."""

from __future__ import annotations

import pytest
from redis import Redis

from redis_queue import Attachment, EnqueueResult, IdempotencyKey, Limit, RedisQueue
from tests.support.leases import snapshot

pytestmark = pytest.mark.every_redis

RECORD = {"status": "queued", "created_ms": 1, "owner": "anna", "priority": 4}
KEY = IdempotencyKey("name", "song", 60_000)


@pytest.fixture
def queue(redis_client: Redis) -> RedisQueue:
    return RedisQueue(redis_client, "tasks")


def test_a_limit_counts_the_members_of_its_set(queue: RedisQueue, redis_client: Redis) -> None:
    limit = Limit("tasks:owner:anna:queued", 1)
    assert queue.enqueue("a", 3, RECORD, limit=limit).accepted
    before = snapshot(redis_client)
    assert queue.enqueue("b", 3, RECORD, limit=limit) == EnqueueResult("limited")
    assert snapshot(redis_client) == before
    assert queue.enqueue("b", 3, RECORD, limit=Limit("tasks:owner:anna:queued", 2)).accepted


def test_a_request_that_comes_again_names_its_first_item(queue: RedisQueue, redis_client: Redis) -> None:
    assert queue.enqueue("a", 4, RECORD, idempotency_key=KEY).accepted
    before = snapshot(redis_client)
    again = queue.enqueue("b", 3, RECORD, idempotency_key=KEY)
    assert again == EnqueueResult("repeated", "a", 4, asks_for_the_same=True)
    other = queue.enqueue("b", 3, RECORD, idempotency_key=IdempotencyKey("name", "other song", 60_000))
    assert other == EnqueueResult("repeated", "a", 4, asks_for_the_same=False)
    assert snapshot(redis_client) == before


def test_a_request_may_come_again_once_its_item_was_deleted(queue: RedisQueue) -> None:
    queue.enqueue("a", 3, RECORD, idempotency_key=KEY)
    assert queue.forget("a", [], ["queued"], on_request=True)
    assert queue.enqueue("b", 3, RECORD, idempotency_key=KEY).accepted


@pytest.mark.parametrize("score", [None, -1])
def test_an_item_whose_attachment_is_gone_is_refused(queue: RedisQueue, redis_client: Redis, score: int | None) -> None:
    if score is not None:
        redis_client.zadd("uploads", {"file": score})
    before = snapshot(redis_client)
    refused = queue.enqueue("a", 3, RECORD, attachment=Attachment("uploads", "file"), idempotency_key=KEY)
    assert refused == EnqueueResult("detached")
    assert snapshot(redis_client) == before


def test_an_accepted_item_takes_its_attachment(queue: RedisQueue, redis_client: Redis) -> None:
    redis_client.zadd("uploads", {"file": 1_700_000_000_000})
    assert queue.enqueue("a", 3, RECORD, attachment=Attachment("uploads", "file")).accepted
    assert redis_client.zscore("uploads", "file") == 0


def test_an_item_that_exists_is_refused_before_any_limit(queue: RedisQueue) -> None:
    queue.enqueue("a", 3, RECORD)
    assert queue.enqueue("a", 3, RECORD, limit=Limit("tasks:tasks", 1)) == EnqueueResult("exists")
