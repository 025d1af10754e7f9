"""Who enters the network next, and how many tasks a processor claims ahead of it.

A processor works on several tasks at once, each in a thread of its own: one is in the network, one is ahead of it,
being fetched and decoded or waiting for its turn, and one is behind it, being encoded and handed over. So the network
need not wait for anything but the next task's turn. `InferenceScheduler` sees to it that

- no more than one task is claimed ahead, and none while something speaks against it, such as a full disk. Ahead of an
  empty network a second one is claimed only if the first is slow to come: of two that wait, the first in line goes in
  first;
- a task that waits for its turn goes back to the queue, uncounted, when one that goes before it has come, when another
  processor has nothing to do, or when this one is told to stop.
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
from uvr.worker.heartbeat import Heartbeat

log = structlog.get_logger()

THREADS = 3
"""In the network, ahead of it, behind it."""

_SEATS = 2
"""In the network and ahead of it."""
_SLOW_S = 1.0
"""A task that was not fetched and decoded within this time does not keep others from being claimed."""
_LOOK_EVERY_S = 0.25
_HANDED_OVER_S = 1.0
"""How long nothing is claimed after a task was left to an idle processor, which would else be too late for it."""


class InferenceScheduler:
    """The order of the tasks claimed from `queue`; `name` tells this processor from all others.

    `why_closed` gives the reason for which nothing may be claimed at the moment, or "". Used by several threads; it is
    also the `Admission` of their workers.
    """

    def __init__(self, queue: RedisQueue, name: str, why_closed: Callable[[], str]) -> None:
        self._queue = queue
        self._name = name
        self._why_closed = why_closed
        self._change = threading.Condition()
        self._seated: dict[int, float] = {}  # thread -> since when, s
        self._occupied = False
        self._entered_at = self._left_at = time.monotonic()
        self._closed_until = 0.0

    def enter(self) -> bool:
        """Take a seat ahead of the network; False while there is none, or nothing may be claimed."""
        if self._why_closed():
            return False
        with self._change:
            now = time.monotonic()
            if now < self._closed_until or not self._has_seat(now):
                return False
            self._seated[threading.get_ident()] = now
            return True

    def leave(self) -> None:
        """Give up the seat, if it was not given up behind the network."""
        with self._change:
            self._seated.pop(threading.get_ident(), None)

    def idle(self) -> str:
        """The processor's name while its network has nothing to do."""
        return "" if self._occupied else self._name

    def _has_seat(self, now: float) -> bool:
        if len(self._seated) == _SEATS:
            return False
        return self._occupied or all(now - since > _SLOW_S for since in self._seated.values())

    def turn(self, lease: Lease, pulse: Heartbeat) -> Turn:
        """One stay in the network, for a `with` statement whose block runs alone; to be used once."""
        return Turn(self, lease, pulse)

    def begin(self, lease: Lease, pulse: Heartbeat) -> None:
        """Wait until the network is free; raises `CancelledError` when the task had better be handed back."""
        self._wait(lease, pulse)
        self._entered_at = time.monotonic()

    def end(self) -> None:
        """Leave the network, and the seat: from now on another task may be claimed ahead."""
        gap_s, stay_s = self._entered_at - self._left_at, time.monotonic() - self._entered_at
        log.info("network.left", stay_s=round(stay_s, 3), gap_s=round(gap_s, 3))
        NETWORK_GAP_SECONDS.observe(gap_s)
        NETWORK_BUSY_SECONDS.add(stay_s)
        self._left_at = time.monotonic()
        self._give_way()
        self.leave()

    def _wait(self, lease: Lease, pulse: Heartbeat) -> None:
        while not self._take():
            if pulse.stopping():
                raise CancelledError("The process stops, and this task has not begun.")
            if self._overtaken(lease, self._name):
                self._closed_until = time.monotonic() + _HANDED_OVER_S
                raise CancelledError("A task that goes before this one has come, or another processor is free.")
        if self._overtaken(lease):
            self._give_way()
            raise CancelledError("A task that goes before this one has come.")

    def _take(self) -> bool:
        """Enter the network, as soon as it is free; False when it is not for a moment."""
        with self._change:
            if not self._change.wait_for(lambda: not self._occupied, _LOOK_EVERY_S):
                return False
            self._occupied = True
            return True

    def _give_way(self) -> None:
        with self._change:
            self._occupied = False
            self._change.notify_all()

    def _overtaken(self, lease: Lease, own: str = "") -> bool:
        try:
            return self._queue.overtaken(lease, own)
        except RedisError as error:
            log.debug("turn.not_checked", error=str(error))
            return False


class Turn:
    """What `InferenceScheduler.turn` gives; `waited_s` tells how long it had to be waited for."""

    def __init__(self, turns: InferenceScheduler, lease: Lease, pulse: Heartbeat) -> None:
        self._turns = turns
        self._lease = lease
        self._pulse = pulse
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        started = time.monotonic()
        self._turns.begin(self._lease, self._pulse)
        self.waited_s = time.monotonic() - started
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turns.end()
