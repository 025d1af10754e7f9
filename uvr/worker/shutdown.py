"""How a process ends: its workers run until SIGTERM or SIGINT, and then in two stages no more.

First they claim nothing more and have SHUTDOWN_GRACE_SECONDS to finish; what is not finished by then is handed back
uncounted, if need be over the head of a handler that does not hear. A second signal cuts the grace short.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn, Protocol

import structlog

log = structlog.get_logger()

_LAST_STEPS_S = 5.0
"""How long handlers have to hear that the process stops, and to hand back what they hold."""


@dataclass(frozen=True)
class Shutdown:
    """The two stages of stopping: `requested` (claim nothing more), then `abandoned` (hand back what is not done)."""

    requested: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)


class Stoppable(Protocol):
    """What `run_until_stopped` asks of a worker."""

    @property
    def name(self) -> str:
        """For the log."""

    def run(self, shutdown: Shutdown) -> None:
        """Work until `shutdown.requested`, and end soon after `shutdown.abandoned`."""

    def hand_back(self) -> None:
        """Let go of what is not finished; called from another thread, right before the process ends."""


def run_until_stopped(workers: Sequence[Stoppable], grace_s: float) -> bool:
    """Run workers in threads until SIGTERM or SIGINT, then let them finish; must be called in the main thread.

    False when a worker ended by itself, which only a fault of ours makes it do: the others are stopped as well, so that
    whoever supervises the process starts it anew instead of keeping a part of it. Does not return when a handler hangs:
    its item is handed back, and the process ends with status 1.
    """
    shutdown = Shutdown()
    with _signals() as received:
        threads = [
            threading.Thread(target=worker.run, name=worker.name, args=(shutdown,), daemon=True) for worker in workers
        ]
        for thread in threads:
            thread.start()
        healthy = _watch(threads, received)
        log.info("process.stopping", grace_s=grace_s)
        shutdown.requested.set()
        if not _ended(threads, grace_s, lambda: len(received) > 1):
            shutdown.abandoned.set()
            if not _ended(threads, _LAST_STEPS_S):
                _leave(workers)
    return healthy


def _watch(threads: Sequence[threading.Thread], received: Sequence[int]) -> bool:
    while not received:
        time.sleep(0.2)
        if not all(thread.is_alive() for thread in threads):
            log.critical("worker.died", workers=[thread.name for thread in threads if not thread.is_alive()])
            return False
    return True


def _ended(threads: Sequence[threading.Thread], within_s: float, cut_short: Callable[[], bool] = lambda: False) -> bool:
    deadline = time.monotonic() + within_s
    while any(thread.is_alive() for thread in threads):
        if cut_short() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _leave(workers: Sequence[Stoppable]) -> NoReturn:
    for worker in workers:
        worker.hand_back()
    # An ordinary exit would wait for the threads that a hanging library has started.
    os._exit(1)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of ending at them."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        # Nothing more: a handler may interrupt the main thread inside a lock, which it could then never take itself.
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)
