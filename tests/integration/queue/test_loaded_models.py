"""Workers that prefer items of the models they have loaded, and items of other models that must not wait for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import begin, claim, expire, make_older

A, B, C = (json.dumps([name]) for name in ("a", "b", "c"))
MANY = 60_000
PAGE = 100

# Items of the model b, as `enqueue` makes them.
FILL = """
for number = 1, ARGV[1] do
  local id, member = 'b' .. number, string.format('%016d:b%d', number, number)
  redis.call('HSET', 'tasks:item:' .. id, 'member', member, 'score', 3000, 'priority', 3, 'attempt', 0,
             'failures', 0, 'crashes', 0, 'owner', '', 'line', '4:', 'turn', '')
  redis.call('HSET', 'tasks:task:' .. id, 'status', 'queued', 'created_ms', 1, 'models', '["b"]')
  redis.call('ZADD', 'tasks', 3000, member)
  redis.call('ZADD', 'tasks:line:4:', 3000, member)
end
redis.call('SET', 'tasks:seq', ARGV[1])
redis.call('ZADD', 'tasks:turns', 4 * 2 ^ 40, '4:')
redis.call('ZADD', 'tasks:ages', 1000, '4:')
"""

NewQueue = Callable[..., RedisQueue]


@pytest.fixture
def sticky(redis_client: Redis) -> RedisQueue:
    return RedisQueue(redis_client, "tasks", max_overtakes=4)


def submit(queue: RedisQueue, *item_ids: str, owner: str = "", priority: int = 3) -> None:
    """Add items whose model is the first letter of their id; that of "default1" is the service's own."""
    for item_id in item_ids:
        record: dict[str, str | int] = {"status": "queued", "created_ms": 1, "owner": owner}
        if not item_id.startswith("default"):
            record["models"] = json.dumps([item_id[0]])
        assert queue.enqueue(item_id, priority, record).accepted


def claimed(queue: RedisQueue, count: int, *loaded: str) -> list[str]:
    """The items of so many claims; each is finished at once."""
    found = []
    for _ in range(count):
        lease = queue.claim(loaded=loaded)
        assert lease
        assert queue.finish(lease)
        found.append(lease.id)
    return found


@pytest.mark.every_redis
def test_four_items_of_the_loaded_model_go_before_one_of_another(sticky: RedisQueue) -> None:
    submit(sticky, "b1", "a1", "b2", "a2", "a3", "a4", "b3", "a5", "a6")
    assert claimed(sticky, 5, A) == ["a1", "a2", "a3", "a4", "b1"]
    assert claimed(sticky, 2, A) == ["a5", "b2"], "three of those four came after b2"
    assert claimed(sticky, 2, A) == ["a6", "b3"]
    assert sticky.claim(loaded=[A]) is None


def test_models_take_turns_in_rows_of_the_limit(sticky: RedisQueue) -> None:
    submit(sticky, *(f"{model}{number}" for number in range(8) for model in "ab"))
    found, loaded = "", A
    for _ in range(16):
        [item_id] = claimed(sticky, 1, loaded)
        found, loaded = found + item_id[0], json.dumps([item_id[0]])
    assert found == "aaaaabbbbbbbbaaa", "a1 to a4 overtake b0; a5 is overtaken by b4 to b7 only"


@pytest.mark.every_redis
def test_a_lease_names_the_models_of_its_item(sticky: RedisQueue) -> None:
    submit(sticky, "default1", "b1", "a1")
    found = [sticky.claim(loaded=loaded) for loaded in ([B], [A], [A])]
    assert [(lease.id, lease.models) for lease in found if lease] == [("b1", B), ("a1", A), ("default1", "")]
    assert RedisQueue(sticky._client, "others").claim() is None


@pytest.mark.every_redis
def test_without_a_limit_or_a_loaded_model_the_order_is_first_in_first_out(redis_client: Redis) -> None:
    arrived = ["b1", "a1", "b2", "a2", "default1", "a3"]
    for max_overtakes, loaded in ((0, [A]), (0, []), (4, []), (4, [A, B, ""]), (4, [C])):
        queue = RedisQueue(redis_client, "tasks", max_overtakes=max_overtakes)
        submit(queue, *arrived)
        assert claimed(queue, len(arrived), *loaded) == arrived
        assert not redis_client.keys("tasks:jumps:*")
        redis_client.flushall()


@pytest.mark.every_redis
def test_the_default_model_is_loaded_like_any_other(sticky: RedisQueue) -> None:
    submit(sticky, "b1", "default1", "b2", "default2")
    assert claimed(sticky, 4, "", A) == ["default1", "default2", "b1", "b2"]


@pytest.mark.every_redis
def test_a_loaded_model_goes_before_no_other_user_or_priority(sticky: RedisQueue) -> None:
    submit(sticky, "a1", priority=2)
    submit(sticky, "b1", "b2", owner="anna")
    submit(sticky, "a2", "a3", owner="bert")
    assert claimed(sticky, 5, A) == ["b1", "a2", "b2", "a3", "a1"]


@pytest.mark.every_redis
def test_a_retry_is_neither_overtaken_nor_overtakes(sticky: RedisQueue) -> None:
    submit(sticky, "b1", "a1")
    for lease in (claim(sticky), claim(sticky)):
        assert sticky.retry(lease, delay_s=0)
    assert claimed(sticky, 2, A) == ["b1", "a1"]


def test_an_item_that_waited_too_long_is_not_overtaken(redis_client: Redis) -> None:
    queue = RedisQueue(redis_client, "tasks", max_wait_s=60, max_overtakes=4)
    submit(queue, "b1", "a1", "a2")
    lease = queue.claim(loaded=[A])
    assert lease
    assert lease.id == "a1"
    assert not queue.overtaken(lease)
    make_older(queue, "b1", 61)
    assert queue.overtaken(lease)
    assert claimed(queue, 2, A) == ["b1", "a2"]


def test_of_two_items_that_waited_too_long_the_earlier_one_goes_first(redis_client: Redis) -> None:
    patient, hasty = (RedisQueue(redis_client, "tasks", max_wait_s=limit_s, max_overtakes=4) for limit_s in (60, 10))
    submit(patient, "b1", "a1")
    for item_id in ("b1", "a1"):
        make_older(patient, item_id, 30)
    lease = patient.claim(loaded=[A])
    assert lease
    assert lease.id == "a1"
    assert not patient.overtaken(lease)
    assert hasty.overtaken(lease)


@pytest.mark.every_redis
def test_an_item_that_went_out_of_its_turn_keeps_its_lease(sticky: RedisQueue) -> None:
    submit(sticky, "b1", "a1")
    lease = sticky.claim(loaded=[A])
    assert lease
    assert lease.id == "a1"
    assert not sticky.overtaken(lease), "or it would be put back and claimed again for ever"
    submit(sticky, "b2", priority=4)
    assert sticky.overtaken(lease)


@pytest.mark.every_redis
def test_a_head_that_came_back_takes_the_place_of_an_item_that_went_out_of_its_turn(sticky: RedisQueue) -> None:
    submit(sticky, "c1", "b1", "a1")
    head = claim(sticky)
    lease = sticky.claim(loaded=[A])
    assert lease
    assert not sticky.overtaken(lease)
    assert sticky.release(head)
    assert sticky.overtaken(lease)


@pytest.mark.every_redis
def test_an_item_that_goes_again_after_a_release_counts_once(sticky: RedisQueue) -> None:
    submit(sticky, "b1", "a1", "a2", "a3", "a4", "a5")
    assert claimed(sticky, 3, A) == ["a1", "a2", "a3"]
    for _ in range(10):
        lease = sticky.claim(loaded=[A])
        assert lease
        assert lease.id == "a4", "also when no other item may overtake b1"
        assert sticky.release(lease)
    assert claimed(sticky, 3, A) == ["a4", "b1", "a5"]


@pytest.mark.every_redis
def test_what_a_lost_worker_has_overtaken_stays_overtaken(sticky: RedisQueue, redis_client: Redis) -> None:
    submit(sticky, "b1", "a1", "a2", "a3", "a4", "a5", "a6")
    lease = sticky.claim(loaded=[A])
    assert lease
    expire(sticky, redis_client, lease)
    assert sticky.reap() == ["a1"], "no work had begun, so it is no retry"
    assert claimed(sticky, 5, A) == ["a1", "a2", "a3", "a4", "b1"]


@pytest.mark.every_redis
def test_an_item_that_came_back_is_not_overtaken(sticky: RedisQueue) -> None:
    submit(sticky, "b1", "a1")
    assert sticky.release(begin(sticky))
    assert claimed(sticky, 2, A) == ["b1", "a1"]


@pytest.mark.every_redis
def test_items_of_an_older_version_go_in_their_order_too(sticky: RedisQueue, redis_client: Redis) -> None:
    submit(sticky, "b1", "b2", "a1", "a2", "b3")
    redis_client.zrem("tasks", redis_client.hget("tasks:item:a1", "member"))  # claimed by an older version
    lines = redis_client.keys("tasks:line:*")
    assert claimed(sticky, 1, A) == ["a2"]
    redis_client.delete("tasks:turns", "tasks:ages", *lines)
    for key in redis_client.keys("tasks:item:*"):
        redis_client.hdel(key, "owner", "line", "turn")
    submit(sticky, "a3")
    assert claimed(sticky, 4, A) == ["a3", "b1", "b2", "b3"]


def test_an_item_that_the_server_evicted_is_passed_over(sticky: RedisQueue, redis_client: Redis) -> None:
    submit(sticky, "b1", "a1", "a2")
    redis_client.delete("tasks:item:a1")
    assert claimed(sticky, 2, A) == ["a2", "b1"]
    assert redis_client.zcard("tasks:foreign") == 1


def test_a_faulty_record_counts_as_the_default_model(sticky: RedisQueue, redis_client: Redis) -> None:
    submit(sticky, "b1", "a1", "a2")
    redis_client.delete("tasks:task:b1", "tasks:task:a1")
    redis_client.set("tasks:task:a1", "no hash")
    assert claimed(sticky, 1, "") == ["b1"]
    assert claimed(sticky, 1, A) == ["a2"]
    lease = claim(sticky)
    assert (lease.id, lease.models) == ("a1", "")


@given(
    arrived=st.lists(st.sampled_from("abc"), min_size=1, max_size=25),
    workers=st.lists(st.sets(st.sampled_from([A, B, C])), min_size=1, max_size=6),
    max_overtakes=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_item_waits_for_more_than_its_place_in_the_line_and_the_limit(
    redis_client: Redis, arrived: list[str], workers: list[set[str]], max_overtakes: int
) -> None:
    """New items of every model arrive all the time, and workers with other models claim in turns."""
    redis_client.flushall()
    queue = RedisQueue(redis_client, "tasks", max_overtakes=max_overtakes)
    places = {f"{model}{number}": number for number, model in enumerate(arrived)}
    submit(queue, *places)
    for number in range(len(arrived) + max_overtakes):
        submit(queue, *(f"{model}-new{number}" for model in "abc"))
        [item_id] = claimed(queue, 1, *workers[number % len(workers)])
        assert number <= places.pop(item_id, len(arrived)) + max_overtakes
        assert redis_client.zcard("tasks:jumps:4:") <= max_overtakes
    assert not places, "all were claimed in this time"


def test_a_claim_looks_through_a_hundred_of_60_000_items(redis_client: Redis) -> None:
    redis_client.eval(FILL, 0, MANY)
    queue = RedisQueue(redis_client, "tasks", max_overtakes=4)
    submit(queue, "a1")
    reads_before = reads(redis_client)
    assert claimed(queue, 5, A) == [f"b{number}" for number in range(1, 6)], "a1 is too far back"
    assert reads(redis_client) - reads_before < 5 * 1.5 * PAGE
    redis_client.hset(f"tasks:task:b{PAGE + 5}", "models", A)
    assert claimed(queue, 2, A) == [f"b{PAGE + 5}", "b6"]
    assert redis_client.zcard("tasks:jumps:4:") == 1


def reads(client: Redis) -> int:
    """How many fields of hashes were read."""
    stats: Any = client.info("commandstats")
    return sum(stats[name]["calls"] for name in ("cmdstat_hget", "cmdstat_hmget") if name in stats)
