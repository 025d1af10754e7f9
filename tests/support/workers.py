"""Workers in tests: handlers that do what the test says, short retries, and threads that end with a block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from redis import Redis

from redis_queue import Lease, RedisQueue
from uvr.errors import UvrError
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown
from uvr.worker.worker import Worker

WAITING = {"status": "queued"}


class ScriptedHandler:
    """Does what the test says, and keeps the reasons for which it had to give up."""

    def __init__(self, work: Callable[[Lease, Heartbeat], Done | Later]) -> None:
        self.handle = work
        self.given_up: list[str] = []

    def give_up(self, error: UvrError) -> Done:
        self.given_up.append(error.message)
        return Done({"status": "failed"})


def worker_for(queue: RedisQueue, handler: ScriptedHandler, **limits: float) -> Worker:
    """A worker with a heartbeat every 0.1 s and even shorter retries."""
    quick: dict[str, float] = {"retry_base_s": 0.01, "retry_max_s": 0.02, **limits}
    return Worker("test", queue, handler, retry_policy=RetryPolicy(**quick), heartbeat_s=0.1, waiting_record=WAITING)  # type: ignore[arg-type]


def submit(queue: RedisQueue, item_id: str = "a") -> None:
    """Enqueue an item with its record."""
    queue.enqueue(item_id, 3, {"status": "queued", "created_ms": 1})


def status_of(client: Redis, item_id: str = "a") -> str | None:
    """The status in the item's record."""
    return client.hget(f"tasks:task:{item_id}", "status")


def raising(error: Exception) -> Callable[[Lease, Heartbeat], Done]:
    """Work that fails."""

    def work(_lease: Lease, _heartbeat: Heartbeat) -> Done:
        raise error

    return work


def wake_workers(client: Redis, queue: RedisQueue, count: int) -> None:
    """Wake this many workers that wait for work, so that they stop at once when asked to."""
    client.zadd(f"{queue.name}:wake", {f"stop-{number}": 0 for number in range(count)})


@contextmanager
def at_work(workers: Sequence[Worker], *, wake: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Run `workers` in threads until the block ends; `wake` is called then, to wake those that wait for work."""
    shutdown = Shutdown()
    threads = [threading.Thread(target=worker.run, args=(shutdown,), name=worker.name) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        shutdown.requested.set()
        shutdown.abandoned.set()
        wake()
        for thread in threads:
            thread.join()
