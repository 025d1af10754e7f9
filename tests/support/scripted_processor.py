"""A processor whose networks take as long as a test wants: the real scheduler and workers on a real queue."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

from redis_queue import Lease, RedisQueue
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.workers import WAITING, ScriptedHandler
from uvr.processor.scheduler import InferenceScheduler, InferenceSlot, thread_count
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown
from uvr.worker.worker import Worker

DOWNLOADS = 4
THREADS = thread_count(DOWNLOADS)


class Processor:
    """The threads of a processor; a task stays in the network until `leaves` is called with its id."""

    def __init__(self, queue: RedisQueue, name: str) -> None:
        self.entered: list[str] = []
        self.closed = ""
        self._fetched: dict[str, threading.Event] = defaultdict(threading.Event)
        self._left: dict[str, threading.Event] = defaultdict(threading.Event)
        self._encoded = threading.Event()
        self._encoded.set()
        self._slow: set[str] = set()
        self._excess: dict[str, float] = {}
        self.loaded: list[str] = []
        self.claims: Counter[str] = Counter()
        self._scheduler = InferenceScheduler(queue, name, lambda: self.closed, DOWNLOADS, lambda: self.loaded)
        self._shutdown = Shutdown()
        handler = ScriptedHandler(self._handle)
        self._threads = [
            threading.Thread(target=self._worker(queue, handler).run, args=(self._shutdown,)) for _ in range(THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._shutdown.requested.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def fetches_slowly(self, item_id: str) -> None:
        self._slow.add(item_id)

    def arrives(self, item_id: str) -> None:
        self._fetched[item_id].set()

    def turns_away(self, item_id: str, for_s: float = 3600) -> None:
        self._excess[item_id] = for_s

    def why_idle(self) -> str:
        return self._scheduler.why_idle()

    def encodes_slowly(self) -> None:
        self._encoded.clear()

    def leaves(self, item_id: str) -> None:
        self._left[item_id].set()

    def end_all(self) -> None:
        self._encoded.set()
        self._shutdown.requested.set()
        self._shutdown.abandoned.set()

    def _worker(self, queue: RedisQueue, handler: ScriptedHandler) -> Worker:
        return Worker(
            "test",
            queue,
            handler,
            retry_policy=RetryPolicy(),
            heartbeat_s=0.1,
            waiting_record=WAITING,
            admission=self._scheduler,
        )

    def _handle(self, lease: Lease, heartbeat: Heartbeat) -> Done | Later:
        self.claims[lease.id] += 1
        if lease.id in self._excess:
            self._scheduler.turn_away()
            return Later(self._excess[lease.id])
        self._scheduler.begin(lease)
        if lease.id in self._slow:
            self._until(self._fetched[lease.id], heartbeat)
        slot = InferenceSlot(self._scheduler, lease, heartbeat)
        slot.prepare()
        with slot:
            self.entered.append(lease.id)
            if self.loaded:
                self.loaded = [lease.models]
            self._until(self._left[lease.id], heartbeat)
        self._until(self._encoded, heartbeat)
        return Done()

    def _until(self, event: threading.Event, heartbeat: Heartbeat) -> None:
        while not event.wait(0.01) and not heartbeat.cancelled():
            pass


def submit(queue: RedisQueue, item_id: str, priority: int = 3) -> None:
    queue.enqueue(item_id, priority, {"status": "queued", "created_ms": 1})


def leased(queue: RedisQueue, *item_ids: str) -> bool:
    return eventually(lambda: all(queue.holder(item_id) for item_id in item_ids))
