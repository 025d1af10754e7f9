"""Workers in tests: handlers that do what the test says, and impatient limits."""

from __future__ import annotations

from collections.abc import Callable

from redis_queue import Lease, RedisQueue
from uvr.errors import UvrError
from uvr.worker import Done, Later, Limits, Pulse, Worker

WAITING = {"status": "queued"}


class ScriptedHandler:
    """Does what the test says; remembers what it was asked to give up."""

    def __init__(self, work: Callable[[Lease, Pulse], Done | Later]) -> None:
        self.handle = work
        self.given_up: list[str] = []

    def give_up(self, error: UvrError) -> Done:
        self.given_up.append(error.message)
        return Done({"status": "failed"})


def worker_for(queue: RedisQueue, handler: ScriptedHandler, **limits: float) -> Worker:
    """A worker that beats and tries again ten times a second and more."""
    quick: dict[str, float] = {"retry_base_s": 0.01, "retry_max_s": 0.02, **limits}
    return Worker("test", queue, handler, limits=Limits(**quick), heartbeat_s=0.1, waiting_record=WAITING)  # type: ignore[arg-type]


def submit(queue: RedisQueue, item_id: str = "a") -> None:
    """Enqueue an item with its record."""
    queue.enqueue(item_id, 3, {"status": "queued", "created_ms": 1})


def raising(error: Exception) -> Callable[[Lease, Pulse], Done]:
    """Work that fails."""

    def work(_lease: Lease, _pulse: Pulse) -> Done:
        raise error

    return work
