"""When a worker gives up on an item, and how long it waits before each retry."""

from __future__ import annotations

from redis_queue import Lease
from uvr.errors import CrashError, DiskFullError, PermanentError, TransientError
from uvr.worker.retry_policy import RetryPolicy


def lease(failures: int = 0, crashes: int = 0) -> Lease:
    return Lease("a", attempt=1, priority=3, failures=failures, crashes=crashes, fence=1, score=1.0)


def test_a_permanent_error_is_never_retried() -> None:
    assert RetryPolicy().gives_up(lease(), PermanentError("404"))


def test_transient_errors_are_retried_up_to_the_maximum() -> None:
    policy = RetryPolicy(max_failures=3)
    verdicts = [policy.gives_up(lease(failures=made), TransientError("503")) for made in range(4)]
    assert verdicts == [False, False, True, True]


def test_without_a_maximum_transient_errors_are_always_retried() -> None:
    assert not RetryPolicy(max_failures=None).gives_up(lease(failures=10_000), TransientError("503"))


def test_crashes_are_counted_separately_from_failures() -> None:
    policy = RetryPolicy(max_failures=1, max_crashes=3)
    assert not policy.gives_up(lease(failures=5, crashes=1), CrashError("SIGSEGV"))
    assert policy.gives_up(lease(crashes=2), CrashError("SIGSEGV"))


def test_delays_grow_exponentially_with_full_jitter_up_to_the_maximum() -> None:
    policy = RetryPolicy(retry_base_s=2, retry_max_s=60)
    for failures, max_s in ((0, 2), (1, 4), (3, 16), (10, 60), (1000, 60)):
        delays = [policy.delay_s(failures, TransientError("503")) for _ in range(300)]
        assert 0 <= min(delays) < max_s * 0.2
        assert max_s * 0.8 < max(delays) <= max_s


def test_retry_after_replaces_the_delay_up_to_the_maximum() -> None:
    policy = RetryPolicy(retry_max_s=60)
    assert policy.delay_s(0, TransientError("429", retry_after_s=7)) == 7
    assert policy.delay_s(0, TransientError("429", retry_after_s=7200)) == 60


def test_a_full_disk_is_waited_for_in_minutes_however_often() -> None:
    policy, full = RetryPolicy(max_failures=1, retry_max_s=300), DiskFullError("The disk is full.")
    assert not policy.gives_up(lease(failures=10_000), full)
    assert policy.delay_s(10_000, full) == 60
    assert policy.counts_as(full) == ""


def test_other_errors_count() -> None:
    counted = [RetryPolicy().counts_as(error) for error in (TransientError("503"), CrashError("SIGSEGV"))]
    assert counted == ["failures", "crashes"]
