"""A server or another endless call in a thread of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_thread(serve: Callable[[], object], stop: Callable[[], object], *, name: str) -> Iterator[None]:
    """Run `serve` in a thread until the block ends; `stop` makes it return, and the thread has ended afterwards."""
    thread = threading.Thread(target=serve, name=name)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
