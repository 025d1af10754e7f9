"""The limit on event streams that one process serves at a time, and their end when the process stops.

Each open stream occupies one of the few threads that answer requests, so streams get at most half of the threads. A
process that stops ends its streams; clients reconnect by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class EventStreamSlots:
    """Slots for event streams, half as many as there are threads."""

    def __init__(self, threads: int) -> None:
        self._free = threading.BoundedSemaphore(max(1, threads // 2))
        self._is_serving: Callable[[], bool] = lambda: True

    def acquire(self) -> bool:
        """Take a slot; False if none is free. Call `release` once the stream has ended."""
        return self._free.acquire(blocking=False)

    def release(self) -> None:
        """Give a slot back."""
        self._free.release()

    def end_unless(self, is_serving: Callable[[], bool]) -> None:
        """End every stream as soon as `is_serving()` is false."""
        self._is_serving = is_serving

    def may_continue(self) -> bool:
        """Whether streams may stay open."""
        return self._is_serving()
