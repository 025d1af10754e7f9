"""How often a failed item is tried again, and how long it waits before each retry."""

from __future__ import annotations

import random
from dataclasses import dataclass

from redis_queue import Lease
from uvr.errors import CrashError, DiskFullError, PermanentError, TransientError, UvrError


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up on an item, and how long to wait before the next attempt.

    The delay is exponential with full jitter: random between 0 and `retry_base_s * 2**failures`, at most `retry_max_s`
    (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/). With `max_failures` None an
    item is retried for as long as it exists.
    """

    max_failures: int | None = 3
    max_crashes: int = 3
    retry_base_s: float = 2.0
    retry_max_s: float = 300.0

    def delay_s(self, failures: int, error: UvrError) -> float:
        """Seconds until the next attempt, for an item that failed `failures` times before this `error`.

        If the server asked for a delay, that delay counts instead, up to `retry_max_s`.
        """
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            return min(error.retry_after_s, self.retry_max_s)
        max_s = min(self.retry_max_s, self.retry_base_s * 2 ** min(failures, 32))
        return random.uniform(0, max_s)  # noqa: S311  # spreads load, protects nothing

    def gives_up(self, lease: Lease, error: UvrError) -> bool:
        """Whether there is no further attempt after `error`: never after a full disk."""
        if isinstance(error, DiskFullError):
            return False
        if isinstance(error, PermanentError):
            return True
        if isinstance(error, CrashError):
            return lease.crashes + 1 >= self.max_crashes
        return self.max_failures is not None and lease.failures + 1 >= self.max_failures

    def counts_as(self, error: UvrError) -> str:
        """The counter of the item that `error` raises; "" for a full disk, which is no failure."""
        if isinstance(error, DiskFullError):
            return ""
        return "crashes" if isinstance(error, CrashError) else "failures"
