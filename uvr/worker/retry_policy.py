"""How often a failed item is tried again, and how long it waits before each retry."""

from __future__ import annotations

import random
from dataclasses import dataclass

from redis_queue import Lease
from uvr.errors import CrashError, PermanentError, TransientError, UvrError


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up, and how long to pause before another try.

    The pause is exponential with full jitter: random between 0 and `retry_base_s * 2**failures`, at most `retry_max_s`
    (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/). `max_failures` of None tries
    for as long as the item lives.
    """

    max_failures: int | None = 3
    max_crashes: int = 3
    retry_base_s: float = 2.0
    retry_max_s: float = 300.0

    def pause_s(self, failures: int, error: UvrError) -> float:
        """Seconds to wait before the next try after `failures` earlier ones, or what the other side asked for."""
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            return min(error.retry_after_s, self.retry_max_s)
        longest = min(self.retry_max_s, self.retry_base_s * 2 ** min(failures, 32))
        return random.uniform(0, longest)  # noqa: S311  # spreads load, guards nothing

    def are_exceeded(self, lease: Lease, error: UvrError) -> bool:
        """Whether `error` was the last straw for this item."""
        if isinstance(error, PermanentError):
            return True
        if isinstance(error, CrashError):
            return lease.crashes + 1 >= self.max_crashes
        return self.max_failures is not None and lease.failures + 1 >= self.max_failures
