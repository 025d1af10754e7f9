"""Several items in one step: all of them are added, or none; on a real server."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from redis_queue import EnqueueResult, IdempotencyKey, Limit, NewItem, RedisQueue
from tests.support.leases import claim, snapshot

pytestmark = pytest.mark.every_redis

KEY = IdempotencyKey("name", "songs", 60_000)
WAITING = "tasks:owner:anna:queued"


def items(ids: str, batch: str = "one", priority: int = 3) -> list[NewItem]:
    record: dict[str, Any] = {"status": "queued", "created_ms": "now", "owner": "anna", "priority": priority}
    return [NewItem(item_id, priority, {**record, "batch": batch, "audio": item_id}) for item_id in ids]


def test_items_wait_in_their_order_with_their_own_records(queue: RedisQueue, redis_client: Redis) -> None:
    assert queue.enqueue_batch("one", [*items("ab"), *items("c", priority=5)]).accepted
    assert [claim(queue).id for _ in range(3)] == ["c", "a", "b"]
    records = [redis_client.hgetall(f"tasks:task:{name}") for name in "abc"]
    assert [(record["audio"], record["priority"]) for record in records] == [("a", "3"), ("b", "3"), ("c", "5")]
    assert all(int(record["created_ms"]) > 1_700_000_000_000 for record in records)
    assert redis_client.zcard("tasks:tasks:queued") == redis_client.zcard(WAITING) == 3


def test_a_batch_stands_in_an_index_until_its_last_record_is_deleted(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue_batch("one", items("ab"))
    queue.finish(claim(queue), record={"status": "success"})
    assert [member.partition(":")[2] for member in redis_client.zrange("tasks:batch:one", 0, -1)] == ["a", "b"]
    assert queue.forget("a", [], ["success"])
    assert redis_client.zcard("tasks:batch:one") == 1
    assert queue.forget("b", [], ["queued"], on_request=True)
    assert not redis_client.exists("tasks:batch:one")


def test_a_limit_counts_the_whole_batch(queue: RedisQueue, redis_client: Redis) -> None:
    assert queue.enqueue_batch("one", items("ab"), limit=Limit(WAITING, 4)).accepted
    before = snapshot(redis_client)
    assert queue.enqueue_batch("two", items("cde", "two"), limit=Limit(WAITING, 4)) == EnqueueResult("limited")
    assert snapshot(redis_client) == before
    assert queue.enqueue_batch("two", items("cd", "two"), limit=Limit(WAITING, 4)).accepted


def test_nothing_is_added_if_one_item_exists(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("b", 3, {"status": "queued", "created_ms": 1})
    before = snapshot(redis_client)
    assert queue.enqueue_batch("one", items("ab")) == EnqueueResult("exists")
    assert snapshot(redis_client) == before


def test_a_request_that_comes_again_names_its_batch_while_any_of_it_is_left(
    queue: RedisQueue, redis_client: Redis
) -> None:
    assert queue.enqueue_batch("one", items("ab"), idempotency_key=KEY).accepted
    queue.forget("a", [], ["queued"], on_request=True)
    before = snapshot(redis_client)
    again = queue.enqueue_batch("two", items("cd", "two"), idempotency_key=KEY)
    assert again == EnqueueResult("repeated", "one", asks_for_the_same=True)
    other = queue.enqueue_batch("two", items("cd", "two"), idempotency_key=IdempotencyKey("name", "others", 60_000))
    assert other == EnqueueResult("repeated", "one", asks_for_the_same=False)
    assert snapshot(redis_client) == before
    assert queue.earlier(KEY) == again
    queue.forget("b", [], ["queued"], on_request=True)
    assert queue.earlier(KEY) is None
    assert queue.enqueue_batch("two", items("cd", "two"), idempotency_key=KEY).accepted


def test_one_item_under_the_key_of_a_batch_that_is_gone_is_no_batch(queue: RedisQueue) -> None:
    queue.enqueue_batch("one", items("a"), idempotency_key=KEY)
    queue.forget("a", [], ["queued"], on_request=True)
    assert queue.enqueue("b", 4, {**items("b")[0].record, "priority": 4}, idempotency_key=KEY).accepted
    assert queue.earlier(KEY) == EnqueueResult("repeated", "b", 4)


def test_one_item_and_a_batch_under_one_key_are_different_requests(queue: RedisQueue) -> None:
    assert queue.enqueue("a", 3, items("a")[0].record, idempotency_key=KEY).accepted
    batch = queue.enqueue_batch("two", items("cd"), idempotency_key=IdempotencyKey("name", "two songs", 60_000))
    assert batch == EnqueueResult("repeated", "a", 3, asks_for_the_same=False)
    another = IdempotencyKey("another", "two songs", 60_000)
    assert queue.enqueue_batch("two", items("cd", "two"), idempotency_key=another).accepted
    single = queue.enqueue("e", 3, items("e")[0].record, idempotency_key=IdempotencyKey("another", "one", 60_000))
    assert (single.outcome, single.asks_for_the_same) == ("repeated", False)


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_has_one_to_a_hundred_items(queue: RedisQueue, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        queue.enqueue_batch("one", items("a") * count)


def test_a_full_batch_of_large_records_is_added(queue: RedisQueue, redis_client: Redis) -> None:
    record = {**items("a")[0].record, **{f"field{number}": "x" * 1000 for number in range(30)}}
    many = [NewItem(f"item{number}", 1 + number % 5, record) for number in range(100)]
    assert queue.enqueue_batch("one", many).accepted
    assert redis_client.zcard("tasks") == redis_client.zcard("tasks:batch:one") == 100
