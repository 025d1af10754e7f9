"""Waiting for what happens in other threads and processes, for as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 60
"""How long to wait for what must happen. Only a failing test waits so long; less would fail on a busy machine."""

PROMPT_S = 15
"""How long something may take that the service promises to do at once.

On an idle machine it takes less than a second. A machine with two cores and a load of eight keeps this limit.
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
