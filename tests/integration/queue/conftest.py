"""Two queues whose items share their records, as the processor's and the uploader's do."""

from __future__ import annotations

import pytest
from redis import Redis

from redis_queue import RedisQueue


@pytest.fixture
def tasks(redis_client: Redis) -> RedisQueue:
    return RedisQueue(redis_client, "tasks")


@pytest.fixture
def results(redis_client: Redis) -> RedisQueue:
    return RedisQueue(redis_client, "results", root="tasks")
