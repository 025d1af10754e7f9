"""How many streams of events this process may have open at once, and when they had better end.

Each stream holds one of the few threads that answer requests, so only every second thread may be held, and none while
the process stops: clients connect again by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class EventStreamSlots:
    """Seats for streams, half as many as there are threads."""

    def __init__(self, threads: int) -> None:
        self.seats = max(1, threads // 2)
        self._free = threading.BoundedSemaphore(self.seats)
        self._serving: Callable[[], bool] = lambda: True

    def enter(self) -> bool:
        """Take a seat; False when there is none. `leave` gives it back."""
        return self._free.acquire(blocking=False)

    def leave(self) -> None:
        """Give a seat back."""
        self._free.release()

    def end_unless(self, serving: Callable[[], bool]) -> None:
        """Let streams end once `serving()` is false."""
        self._serving = serving

    def go_on(self) -> bool:
        """Whether streams may go on."""
        return self._serving()
