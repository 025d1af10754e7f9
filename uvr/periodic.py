"""Functions that run every few seconds in the background as long as other work runs, such as heartbeats."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(step: Callable[[], None], every_s: float, *, name: str, at_once: bool = False) -> Iterator[None]:
    """Call `step` every `every_s` seconds in a separate thread until the block ends; with `at_once` also at the start.

    `step` must not raise. When the block ends, this waits for a call that is still running.
    """
    ended = threading.Event()

    def repeat() -> None:
        if at_once:
            step()
        while not ended.wait(every_s):
            step()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
