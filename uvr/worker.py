"""What every worker does around its own work: claim, heartbeat, handle, acknowledge; signals; pauses between tries.

A `Worker` serves one queue with one `Handler`. It promises that a claimed item ends in exactly one step of the queue
(finish, retry, bury or release), that its lease is extended by a thread of its own while the handler computes, and that
a handler hears through `Pulse.cancelled` when its result is no longer wanted. `run_until_stopped` runs the workers of a
process until SIGTERM or SIGINT: they claim nothing more and get SHUTDOWN_GRACE_SECONDS to finish; what is not finished
by then is handed back uncounted, if need be over the head of a handler that does not hear. A second signal cuts the
grace short.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn, Protocol

import structlog
from redis import RedisError

from redis_queue import Lease, Record, RedisQueue
from uvr.background import repeating
from uvr.errors import CancelledError, CrashError, PermanentError, TransientError, UvrError
from uvr.redis_clients import WAIT_S

log = structlog.get_logger()

_REAP_EVERY_S = 5.0
_LAST_STEPS_S = 5.0
"""How long handlers have to hear that the process stops, and to hand back what they hold."""


@dataclass(frozen=True)
class Done:
    """The item is finished; it goes on to `next_queue` if there is one.

    `afterwards` runs once the queue has taken note, for what must not happen earlier, such as deleting local files.
    """

    record: Record = field(default_factory=dict)
    next_queue: RedisQueue | None = None
    afterwards: Callable[[], None] | None = None


@dataclass(frozen=True)
class Later:
    """Nothing failed, but the item is to be looked at again after `delay_s`, for instance by a retry schedule."""

    delay_s: float
    record: Record = field(default_factory=dict)


class Handler(Protocol):
    """The work itself. Errors of the tree in uvr.errors decide what becomes of an item; see `Limits`."""

    def handle(self, lease: Lease, pulse: Pulse) -> Done | Later:
        """Do the work of one claim; must be safe to repeat, because delivery is at least once."""

    def give_up(self, error: UvrError) -> Done:
        """What to record, and whom to tell, when no further try is made. Must not fail."""


@dataclass(frozen=True)
class Limits:
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


@dataclass(frozen=True)
class Shutdown:
    """The two stages of stopping: `requested` (claim nothing more), then `abandoned` (hand back what is not done)."""

    requested: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)


class Pulse:
    """The life sign of one claim: extends the lease in a thread of its own, and tells the handler to stop."""

    def __init__(self, queue: RedisQueue, lease: Lease, every_s: float, shutdown: Shutdown) -> None:
        self._queue = queue
        self._lease = lease
        self._every_s = every_s
        self._shutdown = shutdown
        self.lost = False

    def beat(self, record: Record | None = None) -> None:
        """Extend the lease now, and write `record`, for instance the progress. Never raises for an absent Redis."""
        try:
            if not self._queue.extend(self._lease, record):
                self.lost = True
        except RedisError as error:
            # The lease may outlive the outage; whoever claims next decides, by the attempt number.
            log.warning("lease.beat_failed", item=self._lease.id, error=str(error))

    def cancelled(self) -> bool:
        """Whether the result is no longer wanted: the lease is lost, or the process stops and its grace is over."""
        return self.lost or self._shutdown.abandoned.is_set()

    def beating(self) -> AbstractContextManager[None]:
        """Beat regularly until the block ends."""
        return repeating(self._beat_unless_lost, self._every_s, name=f"pulse-{self._lease.id}")

    def _beat_unless_lost(self) -> None:
        if not self.lost:
            self.beat()


class Worker:
    """Serves `queue` with `handler`, one item at a time.

    `waiting_record` is what an item's record says while it waits again, after a retry, a release or a reaped lease.
    """

    def __init__(
        self,
        name: str,
        queue: RedisQueue,
        handler: Handler,
        *,
        limits: Limits,
        heartbeat_s: float,
        waiting_record: Record | None = None,
    ) -> None:
        self.name = name
        self._queue = queue
        self._handler = handler
        self._limits = limits
        self._heartbeat_s = heartbeat_s
        self._waiting_record = waiting_record
        self._reaped_at = -_REAP_EVERY_S
        self._held: Lease | None = None

    def run(self, shutdown: Shutdown) -> None:
        """Claim and handle until stopped; waits out an absent Redis."""
        outage = 0
        while not shutdown.requested.is_set():
            try:
                lease = self._next_lease()
                outage = 0
            except RedisError as error:
                outage += 1
                log.warning("redis.unavailable", worker=self.name, error=str(error))
                shutdown.requested.wait(min(5.0, 0.2 * 2 ** min(outage, 5)))
                continue
            if lease is not None:
                self._held = lease
                self.work_on(lease, shutdown)
                self._held = None

    def hand_back(self) -> None:
        """Release the item of a handler that does not end; for another thread, right before it ends the process."""
        if (lease := self._held) is None:
            return
        log.warning("claim.torn_off", worker=self.name, task_uuid=lease.id, attempt=lease.attempt)
        try:
            self._queue.release(lease, self._waiting_record)
        except RedisError as error:
            log.warning("redis.unavailable", worker=self.name, error=str(error))

    def work_on(self, lease: Lease, shutdown: Shutdown) -> None:
        """One claim from heartbeat to acknowledgement, and the one log line that tells about it."""
        started = time.monotonic()
        pulse = Pulse(self._queue, lease, self._heartbeat_s, shutdown)
        with structlog.contextvars.bound_contextvars(worker=self.name, task_uuid=lease.id, attempt=lease.attempt):
            with pulse.beating():
                step = self._attempt(lease, pulse)
                kept = self._take(step, shutdown)
            if kept and step.afterwards:
                step.afterwards()
            log.info("claim.settled", step=step.name, kept=kept, elapsed_s=round(time.monotonic() - started, 3))

    def _next_lease(self) -> Lease | None:
        if time.monotonic() - self._reaped_at >= _REAP_EVERY_S:
            for item in self._queue.reap(self._waiting_record):
                log.warning("lease.expired", worker=self.name, task_uuid=item)
            self._reaped_at = time.monotonic()
        lease = self._queue.claim()
        if lease is None:
            self._queue.wait(WAIT_S)
        return lease

    def _attempt(self, lease: Lease, pulse: Pulse) -> _Step:
        """Run the handler; the step of the queue that its outcome asks for."""
        if lease.crashes >= self._limits.max_crashes:
            gave_up = PermanentError(f"The worker died {lease.crashes} times over this task; it was given up.")
            return self._after_error(lease, gave_up)
        try:
            return self._after(lease, self._handler.handle(lease, pulse))
        except (CancelledError, RedisError) as error:
            # Not the item's fault: nobody waits for this result any more, or the handler could not reach Redis.
            log.warning("claim.handed_back", error_kind=type(error).__name__, error=str(error))
            return _Step("release", lambda: self._queue.release(lease, self._waiting_record))
        except UvrError as error:
            return self._after_error(lease, error)
        except Exception:
            # The worker's edge: a fault of ours costs this attempt, never the process or the item.
            log.exception("claim.broke")
            return self._after_error(lease, TransientError("An internal error occurred; the log has the details."))

    def _after(self, lease: Lease, outcome: Done | Later) -> _Step:
        if isinstance(outcome, Later):
            later = outcome
            return _Step(
                "later",
                lambda: self._queue.retry(lease, delay_s=later.delay_s, counts_as="", record=later.record),
            )
        done = outcome
        return _Step(
            "finish",
            lambda: self._queue.finish(lease, next_queue=done.next_queue, record=done.record),
            done.afterwards,
        )

    def _after_error(self, lease: Lease, error: UvrError) -> _Step:
        facts = {"error_kind": type(error).__name__, "error": error.message, **_loggable(error.facts)}
        if self._limits.are_exceeded(lease, error):
            log.error("claim.failed", **facts)
            last = self._handler.give_up(error)
            return _Step(
                "bury", lambda: self._queue.bury(lease, next_queue=last.next_queue, record=last.record), last.afterwards
            )
        delay_s = self._limits.pause_s(lease.failures, error)
        counts_as = "crashes" if isinstance(error, CrashError) else "failures"
        log.warning("claim.failed_for_now", delay_s=round(delay_s, 1), **facts)
        return _Step(
            "retry",
            lambda: self._queue.retry(lease, delay_s=delay_s, counts_as=counts_as, record=self._waiting_record),
        )

    def _take(self, step: _Step, shutdown: Shutdown) -> bool:
        """Take the queue's step; the work is done, so an absent Redis is waited for until the process is abandoned."""
        while True:
            try:
                return step.take()
            except RedisError as error:
                log.warning("redis.unavailable", worker=self.name, error=str(error))
                if shutdown.abandoned.wait(1.0):
                    return False


@dataclass(frozen=True)
class _Step:
    """How a claim ends: one call of the queue, False when the lease was lost, and what to do after it."""

    name: str
    take: Callable[[], bool]
    afterwards: Callable[[], None] | None = None


def run_until_stopped(workers: Sequence[Worker], grace_s: float) -> bool:
    """Run workers in threads until SIGTERM or SIGINT, then let them finish; must be called in the main thread.

    False when a worker ended by itself, which only a fault of ours makes it do: the others are stopped as well, so that
    whoever supervises the process starts it anew instead of keeping a part of it. Does not return when a handler hangs:
    its item is handed back, and the process ends with status 1.
    """
    shutdown = Shutdown()
    with _signals() as received:
        threads = [
            threading.Thread(target=worker.run, name=worker.name, args=(shutdown,), daemon=True) for worker in workers
        ]
        for thread in threads:
            thread.start()
        healthy = _watch(threads, received)
        log.info("process.stopping", grace_s=grace_s)
        shutdown.requested.set()
        if not _ended(threads, grace_s, lambda: len(received) > 1):
            shutdown.abandoned.set()
            if not _ended(threads, _LAST_STEPS_S):
                _leave(workers)
    return healthy


def _watch(threads: Sequence[threading.Thread], received: Sequence[int]) -> bool:
    while not received:
        time.sleep(0.2)
        if not all(thread.is_alive() for thread in threads):
            log.critical("worker.died", workers=[thread.name for thread in threads if not thread.is_alive()])
            return False
    return True


def _ended(threads: Sequence[threading.Thread], within_s: float, cut_short: Callable[[], bool] = lambda: False) -> bool:
    deadline = time.monotonic() + within_s
    while any(thread.is_alive() for thread in threads):
        if cut_short() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _leave(workers: Sequence[Worker]) -> NoReturn:
    for worker in workers:
        worker.hand_back()
    # An ordinary exit would wait for the threads that a hanging library has started.
    os._exit(1)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of ending at them."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        # Nothing more: a handler may interrupt the main thread inside a lock, which it could then never take itself.
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _loggable(facts: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if isinstance(value, str | int | float | bool)}
