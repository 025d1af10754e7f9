"""Processors whose networks take as long as a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.scripted_processor import THREADS, Processor
from tests.support.workers import wake_workers


@pytest.fixture
def new_processor(queue: RedisQueue, redis_client: Redis) -> Iterator[Callable[..., Processor]]:
    processors: list[Processor] = []

    def new(name: str = "mine", queue: RedisQueue = queue) -> Processor:
        processors.append(Processor(queue, name))
        return processors[-1]

    yield new
    for processor in processors:
        processor.end_all()
    wake_workers(redis_client, queue, THREADS * len(processors))
    for processor in processors:
        processor.stop()
