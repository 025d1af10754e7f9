"""Decides which task enters the network next, and how many tasks a processor claims ahead of it.

A processor works on several tasks at once, each in a thread of its own: one in the network, one ahead of it (being
fetched, decoded, or waiting), and one behind it (being encoded). So the network rarely has to wait for anything but the
next task's slot. `InferenceScheduler` makes sure that

- at most one task is claimed ahead of a busy network, and none while there is a reason to pause, such as a full disk.
  While the network is idle, a second task is claimed only if the first one takes more than a second to be fetched and
  decoded. Otherwise the second one might be ready earlier, and enter the network before the one that it came after;
- a task that waits for its slot is released to the queue, uncounted, when a task that goes before it has arrived, when
  another processor has nothing to do, or when this process is stopping.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from redis import RedisError

from redis_queue import Lease, RedisQueue
from uvr.errors import CancelledError
from uvr.metrics.definitions import NETWORK_BUSY_SECONDS, NETWORK_GAP_SECONDS
from uvr.worker.admission import Admission
from uvr.worker.heartbeat import Heartbeat

log = structlog.get_logger()

THREADS = 3
"""One task in the network, one ahead of it, one behind it."""

_MAX_ADMITTED = 2
"""One task in the network and one ahead of it."""
_SLOW_S = 1.0
"""A task that is not fetched and decoded within this time does not keep another one from being claimed."""
_CHECK_EVERY_S = 0.25
_YIELD_S = 1.0
"""How long nothing is claimed after a task was released to an idle processor, which might otherwise come too late."""


class InferenceScheduler(Admission):
    """Gives the tasks claimed from `queue` their slots in the network. Used by all worker threads of a processor.

    `name` distinguishes this processor from all others. `why_paused` gives the reason why nothing may be claimed at
    the moment, or "".
    """

    def __init__(self, queue: RedisQueue, name: str, why_paused: Callable[[], str]) -> None:
        super().__init__(why_paused)
        self._queue = queue
        self._name = name
        self._change = threading.Condition()
        self._admitted: dict[int, float] = {}  # thread id -> when it was admitted, monotonic s
        self._is_occupied = False
        self._acquired_at = self._released_at = time.monotonic()
        self._paused_until = 0.0

    def enter(self) -> bool:
        """Whether the calling thread may claim a task ahead of the network; `release` or `leave` ends this."""
        if not super().enter():
            return False
        with self._change:
            now = time.monotonic()
            if now < self._paused_until or len(self._admitted) == _MAX_ADMITTED:
                return False
            if not self._is_occupied and any(now - since <= _SLOW_S for since in self._admitted.values()):
                return False
            self._admitted[threading.get_ident()] = now
            return True

    def leave(self) -> None:
        """End what `enter` began, if `release` has not ended it already."""
        with self._change:
            self._admitted.pop(threading.get_ident(), None)

    def idle(self) -> str:
        """The name of this processor while its network has nothing to do."""
        return "" if self._is_occupied else self._name

    def acquire(self, lease: Lease, heartbeat: Heartbeat) -> None:
        """Wait until the network is free, and occupy it. Raises `CancelledError` when the task should be released."""
        while True:
            with self._change:
                if self._change.wait_for(lambda: not self._is_occupied, _CHECK_EVERY_S):
                    self._is_occupied = True
                    break
            if heartbeat.stopping():
                raise CancelledError("The process is stopping before this task has entered the network.")
            if self._is_overtaken(lease, self._name):
                self._paused_until = time.monotonic() + _YIELD_S
                raise CancelledError("A task that goes before this one has arrived, or another processor is idle.")
        if self._is_overtaken(lease):
            self._free()
            raise CancelledError("A task that goes before this one has arrived.")
        self._acquired_at = time.monotonic()

    def release(self) -> None:
        """Leave the network; from now on another task may be claimed ahead."""
        gap_s, stay_s = self._acquired_at - self._released_at, time.monotonic() - self._acquired_at
        log.info("network.left", stay_s=round(stay_s, 3), gap_s=round(gap_s, 3))
        NETWORK_GAP_SECONDS.observe(gap_s)
        NETWORK_BUSY_SECONDS.add(stay_s)
        self._released_at = time.monotonic()
        self._free()
        self.leave()

    def _free(self) -> None:
        with self._change:
            self._is_occupied = False
            self._change.notify_all()

    def _is_overtaken(self, lease: Lease, own_name: str = "") -> bool:
        try:
            return self._queue.overtaken(lease, own_name)
        except RedisError as error:
            log.debug("turn.not_checked", error=str(error))
            return False


class InferenceSlot:
    """One stay of a task in the network: a context manager whose block runs alone. Use it once.

    `waited_s` is how long the task waited for it.
    """

    def __init__(self, scheduler: InferenceScheduler, lease: Lease, heartbeat: Heartbeat) -> None:
        self._scheduler = scheduler
        self._lease = lease
        self._heartbeat = heartbeat
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        started = time.monotonic()
        self._scheduler.acquire(self._lease, self._heartbeat)
        self.waited_s = time.monotonic() - started
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scheduler.release()
