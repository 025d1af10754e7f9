"""The two stages in which a worker process stops, and the signals that start them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass(frozen=True)
class Shutdown:
    """First `requested`: claim nothing more. Then `abandoned`: release what is not finished."""

    requested: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)


def end_on_sigterm() -> None:
    """End the process at once when it receives SIGTERM, until it collects signals; call it in the main thread.

    That is what SIGTERM does anyway, except to the first process of a container, which ignores signals that it does not
    handle. A worker that is told to stop while it starts would then claim tasks until it is killed.
    """
    signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of ending the process."""
    received: list[int] = []

    def collect(number: int, _frame: FrameType | None) -> None:
        # Only this: a signal handler may interrupt the main thread while it holds a lock, and would then deadlock.
        received.append(number)

    before = {number: signal.signal(number, collect) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
