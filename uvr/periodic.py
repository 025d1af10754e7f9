"""Something small that happens again and again beside other work, and ends with it: heartbeats, announcements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(step: Callable[[], None], every_s: float, *, name: str, at_once: bool = False) -> Iterator[None]:
    """Call `step` every `every_s` seconds, in a thread of its own until the block ends; `at_once`: first of all now.

    `step` must not raise. A call that runs when the block ends is waited for.
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
