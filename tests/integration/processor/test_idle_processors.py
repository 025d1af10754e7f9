"""A task that a busy processor has claimed ahead goes to an idle one."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis import Redis

from redis_queue import RedisQueue
from tests.support.scripted_processor import Processor, leased, submit
from tests.support.waiting import eventually


def test_a_task_claimed_ahead_goes_to_an_idle_processor(
    queue: RedisQueue, new_processor: Callable[[str], Processor]
) -> None:
    mine, other = new_processor("mine"), new_processor("other")
    submit(queue, "long")
    submit(queue, "next")
    mine.start()
    assert leased(queue, "long", "next")
    other.start()
    eventually(lambda: other.entered == ["next"])
    assert mine.entered == ["long"]


def test_a_busy_processor_leaves_a_task_to_an_idle_one_before_it_downloads_the_song(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[], Processor]
) -> None:
    mine = new_processor()
    mine.fetches_slowly("next")
    submit(queue, "long")
    mine.start()
    eventually(lambda: mine.entered == ["long"])
    redis_client.zadd("tasks:idle", {"other": (redis_client.time()[0] + 3600) * 1000})
    submit(queue, "next")
    eventually(lambda: mine.claims["next"] and queue.sizes().waiting == 1, "the task is back in the queue")
    assert redis_client.hget("tasks:item:next", "failures") == "0"


def test_a_single_task_stays_with_the_processor_that_claimed_it(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[str], Processor]
) -> None:
    mine, other = new_processor("mine"), new_processor("other")
    mine.start()
    other.start()
    time.sleep(0.3)
    submit(queue, "only")
    eventually(lambda: len(mine.entered + other.entered) == 1)
    assert redis_client.hget("tasks:item:only", "attempt") == "1"
