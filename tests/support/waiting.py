"""Waiting for what happens in other threads and processes, for as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 60
"""How long to wait for what must happen. Only a failing test waits so long; less would measure the machine's load."""

PROMPT_S = 15
"""How soon something must happen that is promised to happen at once.

It takes less than a second on an idle machine, and less than this on two cores with a load of eight.
"""

Found = TypeVar("Found")


def eventually(
    check: Callable[[], Found], what: str = "it happens", timeout_s: float = PATIENCE_S, *, every_s: float = 0.01
) -> Found:
    """Call `check` every `every_s` until it returns something true, and return that; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(every_s)
    return found
