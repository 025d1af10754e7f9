"""Responses that wait for news, such as streams of events, and the one thread that goes on with all of them.

A response with nothing to send asks for a pause: it calls what it finds at `PAUSE` in its WSGI environment, with the
seconds, and yields an empty piece. Then it leaves its thread, and the stream thread goes on with it when they are over.
So a process follows hundreds of tasks for hundreds of clients, and all of its request threads stay free.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import structlog

log = structlog.get_logger()

PAUSE = "uvr.pause"
"""The key in the WSGI environment; servers without such pauses do not set it."""


class StreamThread:
    """Calls functions in one thread, at once or later, the earliest first. Its methods may be called from any thread.

    It stands in for a `ThreadPoolExecutor` where connections submit their steps.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, Callable[[], object]]] = []  # a heap
        self._numbers = count()
        self._changed = threading.Condition()
        self._is_running = True
        self._is_hurrying = False
        threading.Thread(target=self._run, name="streams", daemon=True).start()

    def submit(self, function: Callable[..., object], /, *args: Any) -> None:
        """Call `function(*args)` as soon as possible."""
        self.submit_later(0.0, function, *args)

    def submit_later(self, pause_s: float, function: Callable[..., object], /, *args: Any) -> None:
        """Call `function(*args)` after `pause_s` seconds."""
        with self._changed:
            due = 0.0 if self._is_hurrying else time.monotonic() + pause_s
            step: Callable[[], object] = partial(function, *args)
            heapq.heappush(self._steps, (due, next(self._numbers), step))
            self._changed.notify()

    def hurry(self) -> None:
        """End all pauses, also later ones: the process stops, and the streams are to notice at once."""
        with self._changed:
            self._is_hurrying = True
            self._steps = [(0.0, number, step) for _, number, step in self._steps]
            self._changed.notify()

    def stop(self) -> None:
        """End the thread after the present call."""
        with self._changed:
            self._is_running = False
            self._changed.notify()

    def _run(self) -> None:
        while step := self._next():
            try:
                step()
            except Exception:
                log.exception("server.callback_failed")

    def _next(self) -> Callable[[], object] | None:
        """The next step, once it is due; None at the end."""
        with self._changed:
            while self._is_running:
                pause_s = self._steps[0][0] - time.monotonic() if self._steps else None
                if pause_s is not None and pause_s <= 0:
                    return heapq.heappop(self._steps)[2]
                self._changed.wait(pause_s)
            return None
