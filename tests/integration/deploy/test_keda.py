"""What KEDA reads in Redis for the chart's ScaledObject is the number of waiting and leased tasks."""

from __future__ import annotations

from redis import Redis

from redis_queue import RedisQueue
from tests.support.chart import example, render

# As KEDA's scaler counts "lists" of any type: https://github.com/kedacore/keda/pull/7759
COUNTS = {"zset": "ZCARD", "set": "SCARD", "hash": "HLEN", "list": "LLEN", "none": "LLEN"}


def test_the_formula_adds_waiting_and_leased_tasks(redis_client: Redis) -> None:
    triggers = render(example("gpu")).one("ScaledObject")["spec"]["triggers"]
    queue = RedisQueue(redis_client, "uvr_tasks")

    def counted() -> dict[str, int]:
        keys = {trigger["name"]: trigger["metadata"]["listName"] for trigger in triggers}
        return {name: redis_client.execute_command(COUNTS[redis_client.type(key)], key) for name, key in keys.items()}

    assert counted() == {"waiting": 0, "leased": 0}
    for number in range(3):
        assert queue.enqueue(f"task-{number}", 3, {"status": "queued", "created_ms": 1}).accepted
    assert counted() == {"waiting": 3, "leased": 0}
    lease = queue.claim()
    assert lease is not None
    assert counted() == {"waiting": 2, "leased": 1}
    for _ in range(2):
        assert queue.claim() is not None
    assert counted() == {"waiting": 0, "leased": 3}, "waiting alone would end busy pods now"
    assert queue.finish(lease)
    assert counted() == {"waiting": 0, "leased": 2}
