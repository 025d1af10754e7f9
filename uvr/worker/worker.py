"""What every worker does around its own work: claim, heartbeat, handle, acknowledge; pauses between tries.

A `Worker` serves one queue with one `Handler`. It promises that a claimed item ends in exactly one step of the queue
(finish, retry, bury or release), that its lease is extended by a thread of its own while the handler computes, and that
a handler hears through `Heartbeat.cancelled` when its result is no longer wanted.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from redis import RedisError

from redis_queue import Lease, Record, RedisQueue
from uvr.errors import CancelledError, CrashError, PermanentError, TransientError, UvrError
from uvr.metrics.definitions import CLAIMS
from uvr.redis.clients import WAIT_S
from uvr.redis.errors import is_transient
from uvr.redis.outage_log import OutageLog
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown

log = structlog.get_logger()

_REAP_EVERY_S = 5.0

_ADMISSION_EVERY_S = 0.2


class Handler(Protocol):
    """The work itself. Errors of the tree in uvr.errors decide what becomes of an item; see `RetryPolicy`."""

    def handle(self, lease: Lease, pulse: Heartbeat) -> Done | Later:
        """Do the work of one claim; must be safe to repeat, because delivery is at least once."""

    def give_up(self, error: UvrError) -> Done:
        """What to record, and whom to tell, when no further try is made. Must not fail."""


class Admission(Protocol):
    """Whether a worker may claim anything now; asked before every claim, by the thread that would make it."""

    def enter(self) -> bool:
        """True if it may; `leave` is called when the claim is settled, or found nothing."""

    def leave(self) -> None:
        """The end of what `enter` began."""

    def idle(self) -> str:
        """The name of this process among all workers if it has nothing at all to do, else "" (`RedisQueue.claim`)."""


class _AlwaysOpen:
    """The admission of workers that may claim whenever they are free."""

    def enter(self) -> bool:
        return True

    def leave(self) -> None:
        pass

    def idle(self) -> str:
        return ""


class Worker:
    """Serves `queue` with `handler`, one item at a time.

    `waiting_record` is what an item's record says while it waits again, after a retry, a release or a reaped lease.
    `admission` is asked before each claim; without one the worker claims whenever it is free.
    """

    def __init__(
        self,
        name: str,
        queue: RedisQueue,
        handler: Handler,
        *,
        limits: RetryPolicy,
        heartbeat_s: float,
        waiting_record: Record | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.name = name
        self._queue = queue
        self._handler = handler
        self._limits = limits
        self._heartbeat_s = heartbeat_s
        self._waiting_record = waiting_record
        self._admission = admission or _AlwaysOpen()
        self._reap_every_s = min(_REAP_EVERY_S, queue.lease_ms / 6000)
        self._reaped_at = -self._reap_every_s
        self._held: Lease | None = None

    def run(self, shutdown: Shutdown) -> None:
        """Claim and handle until stopped; waits out an absent Redis."""
        outage = 0
        trouble = OutageLog(worker=self.name)
        while not shutdown.requested.is_set():
            try:
                self._reap()
                self._serve(shutdown)
                trouble.recovered()
                outage = 0
            except RedisError as error:
                outage += 1
                trouble.failed(error)
                shutdown.requested.wait(min(5.0, 0.2 * 2 ** min(outage, 5)))

    def _reap(self) -> None:
        if time.monotonic() - self._reaped_at >= self._reap_every_s:
            for item in self._queue.reap(self._waiting_record):
                log.warning("lease.expired", worker=self.name, task_uuid=item)
            self._reaped_at = time.monotonic()

    def _serve(self, shutdown: Shutdown) -> None:
        """One claim, if one may be made and finds anything. Raises `RedisError` only when nothing was claimed."""
        if not self._admission.enter():
            shutdown.requested.wait(_ADMISSION_EVERY_S)
            return
        try:
            if lease := self._queue.claim(self._admission.idle()):
                self._held = lease
                self.work_on(lease, shutdown)
                self._held = None
            else:
                self._queue.wait(min(WAIT_S, self._reap_every_s))
        finally:
            self._admission.leave()

    def hand_back(self) -> None:
        """Release the item of a handler that does not end; for another thread, right before it ends the process."""
        if (lease := self._held) is None:
            return
        log.warning("claim.torn_off", worker=self.name, task_uuid=lease.id, attempt=lease.attempt)
        try:
            self._queue.release(lease, self._waiting_record)
        except RedisError as error:
            OutageLog(worker=self.name).failed(error)

    def work_on(self, lease: Lease, shutdown: Shutdown) -> None:
        """One claim from heartbeat to acknowledgement, and the one log line that tells about it.

        What the handler binds to the log lines of its thread is forgotten with the claim.
        """
        contextvars.copy_context().run(self._work_on, lease, shutdown)

    def _work_on(self, lease: Lease, shutdown: Shutdown) -> None:
        started = time.monotonic()
        pulse = Heartbeat(self._queue, lease, self._heartbeat_s, shutdown)
        with structlog.contextvars.bound_contextvars(worker=self.name, task_uuid=lease.id, attempt=lease.attempt):
            with pulse.beating():
                step = self._attempt(lease, pulse)
                kept = self._take(step, shutdown)
            if kept and step.afterwards:
                _try(step.afterwards)
            log.info("claim.settled", step=step.name, kept=kept, elapsed_s=round(time.monotonic() - started, 3))
        CLAIMS.add(worker=self.name.partition("-")[0], step=step.name if kept else "lost")

    def _attempt(self, lease: Lease, pulse: Heartbeat) -> _Step:
        """Run the handler; the step of the queue that its outcome asks for."""
        if lease.crashes >= self._limits.max_crashes:
            gave_up = PermanentError(f"The worker died {lease.crashes} times over this task; it was given up.")
            return self._after_error(lease, gave_up)
        try:
            pulse.begin()
            return self._after(lease, self._handler.handle(lease, pulse))
        except CancelledError as error:
            return self._back(lease, error)
        except UvrError as error:
            return self._after_error(lease, error)
        except Exception as error:
            if isinstance(error, RedisError) and is_transient(error):
                return self._back(lease, error)
            pulse.beat()
            if pulse.cancelled():
                # After a long silence somebody else has the item, or is done with it and has removed its files.
                return self._back(lease, error)
            # The worker's edge: a fault of ours costs this attempt, never the process or the item.
            log.exception("claim.broke")
            return self._after_error(lease, TransientError("An internal error occurred; the log has the details."))

    def _back(self, lease: Lease, error: Exception) -> _Step:
        """Not the item's fault: nobody waits for this result any more, or the handler could not reach Redis."""
        log.warning("claim.handed_back", error_kind=type(error).__name__, error=str(error))
        return _Step("release", lambda: self._queue.release(lease, self._waiting_record))

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
        """Take the queue's step; the work is done, so an absent Redis is waited for until the process is abandoned.

        A step that Redis refuses for good is dropped: the lease expires, and another worker tries it all again. A step
        that was taken but whose answer was lost is repeated, and finds the lease gone; it passes for a lost lease, so
        that nothing is done `afterwards`. All that leaves behind is local files, for the janitor to remove.
        """
        trouble = OutageLog(worker=self.name, step=step.name)
        while True:
            try:
                return step.take()
            except RedisError as error:
                trouble.failed(error)
                if not is_transient(error) or shutdown.abandoned.wait(1.0):
                    return False


@dataclass(frozen=True)
class _Step:
    """How a claim ends: one call of the queue, False when the lease was lost, and what to do after it."""

    name: str
    take: Callable[[], bool]
    afterwards: Callable[[], None] | None = None


def _try(afterwards: Callable[[], None]) -> None:
    """The item is settled already: what fails now costs neither it nor the worker."""
    try:
        afterwards()
    except Exception:
        log.exception("claim.afterwards_broke")


def _loggable(facts: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if isinstance(value, str | int | float | bool)}
