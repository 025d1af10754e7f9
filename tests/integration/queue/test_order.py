"""The queue's guarantees, on a real server."""

from __future__ import annotations

import time

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from redis_queue import RedisQueue
from tests.support.leases import begin, claim, dead_ids, expire, make_older, snapshot, waiting_ids

pytestmark = pytest.mark.every_redis


def test_higher_priorities_are_claimed_first(queue: RedisQueue) -> None:
    for priority in (3, 1, 5, 2, 4):
        queue.enqueue(f"p{priority}", priority)
    assert [claim(queue).id for _ in range(5)] == ["p5", "p4", "p3", "p2", "p1"]


def test_a_later_item_of_higher_priority_passes_all_waiting_ones(queue: RedisQueue) -> None:
    for number in range(20):
        queue.enqueue(f"old{number}", 4)
    queue.enqueue("urgent", 5)
    assert claim(queue).id == "urgent"


def test_items_of_one_priority_are_claimed_in_order_of_arrival(queue: RedisQueue) -> None:
    ids = [f"item{number}" for number in range(50)]
    for item_id in ids:
        queue.enqueue(item_id, 3)
    assert [claim(queue).id for _ in ids] == ids


def test_score_is_the_servers_time_in_seconds_times_six_minus_priority(queue: RedisQueue, redis_client: Redis) -> None:
    before = redis_client.time()[0]
    queue.enqueue("a", 2)
    after = redis_client.time()[0]
    [(member, score)] = redis_client.zrange("tasks", 0, -1, withscores=True)
    assert member == "0000000000000001:a"
    assert before * 4 <= score <= after * 4


def test_enqueue_is_idempotent_on_the_id(queue: RedisQueue) -> None:
    assert queue.enqueue("a", 3).accepted
    assert not queue.enqueue("a", 5).accepted
    assert queue.sizes().by_priority == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0}
    claim(queue)
    assert not queue.enqueue("a", 3).accepted, "a leased item is still the queue's"
    assert queue.claim() is None


def test_enqueue_refuses_a_priority_outside_one_to_five(queue: RedisQueue) -> None:
    for priority in (0, 6):
        with pytest.raises(ValueError, match="1 to 5"):
            queue.enqueue("a", priority)


def test_expired_lease_is_claimed_again_with_attempt_2(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    first = begin(queue)
    assert (first.attempt, first.crashes) == (1, 0)
    assert queue.reap() == []
    assert RedisQueue(redis_client, queue.name, lease_ms=20).extend(first)
    time.sleep(0.05)
    assert queue.reap() == ["a"]
    second = claim(queue)
    assert (second.id, second.attempt, second.crashes, second.failures) == ("a", 2, 1, 0)


def test_a_reaped_item_takes_its_old_place(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("first", 3)
    queue.enqueue("second", 3)
    expire(queue, redis_client, claim(queue))
    queue.reap()
    assert waiting_ids(queue) == ["first", "second"]


def test_heartbeats_keep_a_lease_alive(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    for _ in range(4):
        expire(queue, redis_client, lease)
        assert queue.extend(lease)
        assert queue.reap() == []


def test_a_late_ack_changes_nothing(queue: RedisQueue, redis_client: Redis) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    queue.enqueue("a", 3, {"status": "queued", "created_ms": 1})
    late = begin(queue)
    expire(queue, redis_client, late)
    queue.reap()
    current = claim(queue)
    before = snapshot(redis_client)
    assert not queue.extend(late, {"status": "late"})
    assert not queue.finish(late, next_queue=results, record={"status": "late"})
    assert not queue.retry(late, delay_s=0, record={"status": "late"})
    assert not queue.bury(late, next_queue=results, record={"status": "late"})
    assert snapshot(redis_client) == before
    assert queue.finish(current)


def test_a_lease_that_expired_but_was_not_taken_over_still_counts(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    lease = claim(queue)
    expire(queue, redis_client, lease)
    assert queue.finish(lease)
    assert queue.reap() == []


def test_finish_adds_to_the_next_queue_with_the_same_priority(queue: RedisQueue, redis_client: Redis) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    queue.enqueue("a", 5)
    assert queue.finish(claim(queue), next_queue=results)
    assert queue.sizes() == RedisQueue(redis_client, "empty").sizes()
    assert claim(results).priority == 5


def test_finish_removes_every_trace_of_the_item(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    queue.finish(claim(queue))
    assert set(redis_client.keys()) <= {"tasks:seq", "tasks:turn", "tasks:fence", "tasks:wake"}
    assert queue.enqueue("a", 3).accepted, "a finished id may come again"


def test_retry_waits_out_its_delay_and_counts_a_failure(queue: RedisQueue) -> None:
    for item_id, delay_s in {"soon": 0.1, "late": 1000.0}.items():
        queue.enqueue(item_id, 3)
        assert queue.retry(claim(queue), delay_s=delay_s)
    time.sleep(0.12)
    lease = claim(queue)
    assert (lease.id, lease.attempt, lease.failures, lease.crashes) == ("soon", 2, 1, 0)
    assert queue.claim() is None
    assert queue.sizes().delayed == 1


def test_release_counts_neither_failure_nor_crash(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    assert queue.release(claim(queue))
    lease = claim(queue)
    assert (lease.attempt, lease.failures, lease.crashes) == (2, 0, 0)


def test_buried_items_wait_for_an_operator(queue: RedisQueue, redis_client: Redis) -> None:
    notices = RedisQueue(redis_client, "notices")
    queue.enqueue("a", 4)
    assert queue.bury(claim(queue), next_queue=notices)
    assert dead_ids(queue) == ["a"]
    assert queue.claim() is None
    assert waiting_ids(notices) == ["a"]
    assert queue.revive("a")
    assert not queue.revive("a")
    lease = claim(queue)
    assert (lease.attempt, lease.priority, lease.failures) == (2, 4, 0)


@pytest.mark.parametrize("max_wait_s", [0, 60])
def test_a_revived_dead_letter_goes_behind_those_that_wait(redis_client: Redis, max_wait_s: int) -> None:
    queue = RedisQueue(redis_client, "tasks", max_wait_s=max_wait_s)
    for item_id in ("old", "waiting"):
        queue.enqueue(item_id, 3)
    make_older(queue, "old", 3600)
    queue.bury(claim(queue))
    assert queue.revive("old")
    assert waiting_ids(queue) == ["waiting", "old"]
    assert [claim(queue).id for _ in range(2)] == ["waiting", "old"]


def test_a_dead_letter_without_its_item_cannot_be_revived(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    queue.bury(claim(queue))
    redis_client.delete("tasks:item:a")  # evicted
    assert not queue.revive("a")
    assert dead_ids(queue) == ["a"]


def test_a_dropped_dead_letter_is_gone(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    queue.bury(claim(queue))
    assert queue.drop("a")
    assert not queue.drop("a")
    assert queue.sizes().dead == 0
    assert queue.enqueue("a", 3).accepted


def test_a_new_round_replaces_the_dead_letter_of_an_earlier_one(queue: RedisQueue, redis_client: Redis) -> None:
    notices = RedisQueue(redis_client, "notices")
    queue.enqueue("a", 3)
    queue.bury(claim(queue), next_queue=notices)
    notices.bury(claim(notices))
    queue.revive("a")
    queue.finish(claim(queue), next_queue=notices)
    assert dead_ids(notices) == []
    assert claim(notices).id == "a"


def test_records_change_in_the_same_step_as_the_item(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, {"status": "queued", "created_ms": 1700000000000})
    lease = claim(queue)
    queue.extend(lease, {"status": "processing", "progress": 0.5})
    assert redis_client.hgetall("tasks:task:a") == {
        "status": "processing",
        "created_ms": "1700000000000",
        "progress": "0.5",
    }
    assert redis_client.zrange("tasks:tasks:queued", 0, -1) == []
    assert redis_client.zrange("tasks:tasks:processing", 0, -1) == ["1700000000000:a"]
    queue.finish(lease, record={"status": "success"})
    assert redis_client.zrange("tasks:tasks:success", 0, -1) == ["1700000000000:a"]
    assert redis_client.zrange("tasks:tasks", 0, -1) == ["1700000000000:a"]


def test_an_id_whose_record_exists_is_not_enqueued_again(queue: RedisQueue) -> None:
    queue.enqueue("a", 3, {"status": "queued", "created_ms": 1})
    queue.finish(claim(queue), record={"status": "success"})
    assert not queue.enqueue("a", 3, {"status": "queued", "created_ms": 2}).accepted


def test_a_deleted_record_is_not_brought_back_by_a_worker(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3, {"status": "queued", "created_ms": 1})
    lease = claim(queue)
    redis_client.delete("tasks:task:a")
    assert queue.finish(lease, record={"status": "success"})
    assert not redis_client.exists("tasks:task:a")


def test_low_priorities_go_first_once_they_waited_long_enough(redis_client: Redis) -> None:
    patient = RedisQueue(redis_client, "tasks")
    fair = RedisQueue(redis_client, "tasks", max_wait_s=60)
    patient.enqueue("low", 1)
    patient.enqueue("high", 5)
    assert claim(fair).id == "high"
    make_older(patient, "low", seconds=61)
    patient.enqueue("higher", 5)
    assert claim(fair).id == "low"
    assert claim(fair).id == "higher"


def test_without_a_maximum_wait_priority_is_strict(queue: RedisQueue) -> None:
    queue.enqueue("low", 1)
    make_older(queue, "low", seconds=10 * 365 * 86400)
    queue.enqueue("high", 2)
    assert claim(queue).id == "high"


def test_position_counts_the_items_that_go_before(queue: RedisQueue) -> None:
    queue.enqueue("a", 3)
    queue.enqueue("b", 3)
    queue.enqueue("c", 4)
    assert [queue.position(item_id) for item_id in ("c", "a", "b", "unknown")] == [0, 1, 2, None]


def test_sizes_count_every_state(queue: RedisQueue) -> None:
    for number, priority in enumerate((1, 2, 2, 5, 5, 5)):
        queue.enqueue(f"item{number}", priority)
    claim(queue)
    queue.retry(claim(queue), delay_s=60)
    queue.bury(claim(queue))
    sizes = queue.sizes()
    assert (sizes.waiting, sizes.leased, sizes.delayed, sizes.dead) == (3, 1, 1, 1)
    assert sizes.by_priority == {1: 1, 2: 2, 3: 0, 4: 0, 5: 0}


def test_a_full_server_refuses_new_items_whole_and_still_takes_acknowledgements(
    queue: RedisQueue, redis_client: Redis
) -> None:
    queue.enqueue("a", 3, {"status": "queued", "created_ms": 1})
    lease = claim(queue)
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            queue.enqueue("b", 3, {"status": "queued", "created_ms": 2})
        assert queue.extend(lease)
        assert queue.finish(lease, record={"status": "success"})
    finally:
        redis_client.config_set("maxmemory", 0)
    assert not redis_client.exists("tasks:task:b", "tasks:item:b", "tasks")


def test_a_full_server_can_work_through_what_it_holds(queue: RedisQueue, redis_client: Redis) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    queue.enqueue("b", 1, {"status": "queued", "created_ms": 1})
    queue.enqueue("a", 3, {"status": "queued", "created_ms": 1})
    expire(queue, redis_client, begin(queue))
    redis_client.config_set("maxmemory", 1)
    try:
        assert queue.reap({"status": "queued"}) == ["a"]
        lease = claim(queue, idle="me")
        assert not queue.overtaken(lease)
        assert queue.finish(lease, next_queue=results, record={"status": "uploading"})
        assert results.evacuate(queue, {"status": "queued"}) == ["a"]
        for item_id in ("a", "b"):
            lease = begin(queue)
            assert lease.id == item_id
            assert queue.finish(lease, record={"status": "success"})
        assert queue.claim(idle="me") is None
    finally:
        redis_client.config_set("maxmemory", 0)


def test_a_full_server_still_reports_its_sizes(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    redis_client.config_set("maxmemory", 1)
    try:
        assert queue.sizes().waiting == 1
    finally:
        redis_client.config_set("maxmemory", 0)


def test_members_that_are_no_items_are_moved_out_of_the_way(queue: RedisQueue, redis_client: Redis) -> None:
    redis_client.zadd("tasks", {'{"task_uuid": "of another program"}': 1.0, "x": 2.0})
    queue.enqueue("a", 3)
    assert claim(queue).id == "a"
    assert queue.claim() is None
    assert redis_client.zrange("tasks:foreign", 0, -1, withscores=True) == [
        ('{"task_uuid": "of another program"}', 1.0),
        ("x", 2.0),
    ]


def test_an_evicted_item_does_not_keep_others_from_being_reaped(queue: RedisQueue, redis_client: Redis) -> None:
    for item_id in ("evicted", "a"):
        queue.enqueue(item_id, 3)
        expire(queue, redis_client, claim(queue))
    redis_client.delete("tasks:item:evicted")
    queue.reap()
    assert queue.sizes().leased == 0
    assert claim(queue).id == "a"
    assert queue.claim() is None
    assert queue.enqueue("evicted", 3).accepted, "nothing of it is left"


def test_an_item_evicted_while_it_waits_can_come_again_and_is_claimed_once(
    queue: RedisQueue, redis_client: Redis
) -> None:
    queue.enqueue("a", 3)
    redis_client.delete("tasks:item:a")
    assert queue.enqueue("a", 3).accepted
    assert claim(queue).id == "a"
    assert queue.claim() is None


def test_the_script_cache_may_be_lost_at_any_time(queue: RedisQueue, redis_client: Redis) -> None:
    queue.enqueue("a", 3)
    redis_client.script_flush()
    assert claim(queue).id == "a"
