"""Tasks of the loaded model go first, and how far."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from redis import Redis

from redis_queue import RedisQueue
from tests.support.leases import waiting_ids
from tests.support.scripted_processor import Processor, leased
from tests.support.waiting import eventually
from uvr.processor import stages


def submit_models(queue: RedisQueue, *item_ids: str) -> None:
    """Add tasks whose model is the first letter of their id."""
    for item_id in item_ids:
        queue.enqueue(item_id, 3, {"status": "queued", "created_ms": 1, "models": f'["{item_id[0]}"]'})


def test_tasks_of_the_loaded_model_go_first_and_networks_change_seldom(
    redis_client: Redis, new_processor: Callable[..., Processor]
) -> None:
    queue = RedisQueue(redis_client, "tasks", max_overtakes=4)
    submit_models(queue, *(f"{model}{number}" for number in range(8) for model in "ab"))
    processor = new_processor(queue=queue)
    processor.loaded = ['["a"]']
    for item_id in waiting_ids(queue, 16):
        processor.leaves(item_id)
    processor.start()
    eventually(lambda: len(processor.entered) == 16)
    assert "".join(item_id[0] for item_id in processor.entered) == "aaaaabbbbbbbbaaa"
    assert set(processor.claims.values()) == {1}, "none was claimed and put back"


def test_a_task_claimed_ahead_decides_which_model_is_next(
    redis_client: Redis, new_processor: Callable[..., Processor]
) -> None:
    queue = RedisQueue(redis_client, "tasks", max_overtakes=1)
    submit_models(queue, "a1", "b1", "a2", "a3", "b2")
    processor = new_processor(queue=queue)
    processor.loaded = ['["a"]']
    processor.leaves("a1")
    processor.start()
    eventually(lambda: processor.entered == ["a1", "a2"])
    assert leased(queue, "b1")
    time.sleep(0.5)
    assert waiting_ids(queue) == ["a3", "b2"], "b1 keeps its lease while tasks of the loaded model wait"
    for item_id in ("a2", "b1", "b2", "a3"):
        processor.leaves(item_id)
    eventually(lambda: processor.entered == ["a1", "a2", "b1", "b2", "a3"])


def test_where_loading_takes_no_time_tasks_keep_their_order(
    redis_client: Redis, new_processor: Callable[..., Processor]
) -> None:
    queue = RedisQueue(redis_client, "tasks", max_overtakes=4)
    arrived = ["a1", "b1", "a2", "b2"]
    submit_models(queue, *arrived)
    processor = new_processor(queue=queue)
    for item_id in arrived:
        processor.leaves(item_id)
    processor.start()
    eventually(lambda: processor.entered == arrived)


def test_the_song_that_will_load_another_network_decides_which_one_is_claimed_after_it(
    redis_client: Redis, new_processor: Callable[..., Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    queue = RedisQueue(redis_client, "tasks", max_overtakes=4)
    processor = new_processor(queue=queue)
    processor.loaded = ['["a"]']
    processor.fetches_slowly("b1")
    submit_models(queue, "a1", "b1")
    processor.start()
    eventually(lambda: processor.entered == ["a1"])
    assert leased(queue, "b1")
    submit_models(queue, "a2", "b2")
    assert leased(queue, "b2"), "it goes with b1, which is slow to arrive"
    assert waiting_ids(queue) == ["a2"]
