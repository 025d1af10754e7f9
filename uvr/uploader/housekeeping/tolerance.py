"""What a round does about files that the storage does not delete: it logs each and goes on, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from uvr.errors import UvrError

log = structlog.get_logger()

_MAX_FAILING_S = 60.0


class Tolerance:
    """Counts for how long deletions of one round have failed; `exhausted` once the storage seems to be down."""

    def __init__(self) -> None:
        self._failing_s = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether the round should leave the rest to the next one."""
        return self._failing_s > _MAX_FAILING_S

    @contextmanager
    def deleting(self, event: str, **facts: str) -> Iterator[None]:
        """Log a `UvrError` of the block as `event` instead of raising it."""
        started = time.monotonic()
        try:
            yield
        except UvrError as error:
            self._failing_s += time.monotonic() - started
            log.warning(event, error=error.message, **facts)
