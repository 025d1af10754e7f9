"""The loop around every handler: claim, heartbeat, handle, acknowledge or retry.

A `Worker` serves one queue with one `Handler`. It promises that each claim ends in exactly one step of the queue
(finish, retry, bury or release), that a thread of its own extends the lease while the handler works, and that the
handler can learn from `Heartbeat.cancelled` when its result is no longer of use.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from redis import RedisError

from redis_queue import Lease, Record, RedisQueue
from uvr.errors import CancelledError, PermanentError, TransientError, UvrError
from uvr.metrics.definitions import CLAIMS, LEASES_EXPIRED
from uvr.redis.clients import WAIT_S
from uvr.redis.errors import is_transient
from uvr.redis.outage_log import OutageLog
from uvr.worker.admission import Admission
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown

log = structlog.get_logger()

_REAP_EVERY_S = 5.0
_ADMISSION_EVERY_S = 0.2


class Handler(Protocol):
    """The work itself. The class of an error (`uvr.errors`) decides what happens to the item; see `RetryPolicy`."""

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done | Later:
        """Do the work of one claim. It must be safe to repeat, because delivery is at least once."""

    def give_up(self, error: UvrError) -> Done:
        """What to record, and which queue comes next, after the last attempt has failed. Must not raise."""


class Worker:
    """Serves `queue` with `handler`, one item at a time.

    `waiting_record` is written into an item's record when it goes back to waiting: after a retry, a release or an
    expired lease. `admission` is asked before each claim; without one the worker claims whenever it is free.
    """

    def __init__(
        self,
        name: str,
        queue: RedisQueue,
        handler: Handler,
        *,
        retry_policy: RetryPolicy,
        heartbeat_s: float,
        waiting_record: Record | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.name = name
        self.kind = name.partition("-")[0]
        """The kind of the worker in metrics: `processor`, `store` or `webhook`."""
        self._queue = queue
        self._handler = handler
        self._retry_policy = retry_policy
        self._heartbeat_s = heartbeat_s
        self._waiting_record = waiting_record
        self._admission = admission or Admission()
        self._reap_every_s = min(_REAP_EVERY_S, queue.lease_ms / 6000)
        self._reaped_at = -self._reap_every_s
        self._held: Lease | None = None

    def run(self, shutdown: Shutdown) -> None:
        """Claim and handle items until `shutdown.requested`, and reap expired leases; waits while Redis is down."""
        failures, outage = 0, OutageLog(worker=self.name)
        while not shutdown.requested.is_set():
            try:
                if time.monotonic() - self._reaped_at >= self._reap_every_s:
                    for item_id in self._queue.reap(self._waiting_record):
                        log.warning("lease.expired", worker=self.name, task_uuid=item_id)
                        LEASES_EXPIRED.add(worker=self.kind)
                    self._reaped_at = time.monotonic()
                self._serve(shutdown)
                outage.recovered()
                failures = 0
            except RedisError as error:
                failures += 1
                outage.failed(error)
                shutdown.requested.wait(min(5.0, 0.2 * 2 ** min(failures, 5)))

    def _serve(self, shutdown: Shutdown) -> None:
        """Claim one item and handle it, or wait a moment. Raises `RedisError` only when nothing was claimed."""
        if not self._admission.enter():
            shutdown.requested.wait(_ADMISSION_EVERY_S)
            return
        try:
            if lease := self._queue.claim(self._admission.idle(), self._admission.loaded()):
                self._held = lease
                self.work_on(lease, shutdown)
                self._held = None
            else:
                self._queue.wait(min(WAIT_S, self._reap_every_s))
        finally:
            self._admission.leave()

    def release_held_item(self) -> None:
        """Release the item of a handler that hangs; called from another thread, right before the process exits."""
        if (lease := self._held) is None:
            return
        log.warning("claim.torn_off", worker=self.name, task_uuid=lease.id, attempt=lease.attempt)
        try:
            self._queue.release(lease, self._waiting_record)
        except RedisError as error:
            OutageLog(worker=self.name).failed(error)

    def work_on(self, lease: Lease, shutdown: Shutdown) -> None:
        """Handle one claim from its first heartbeat to its acknowledgement.

        Runs in a copy of the context, so that what the handler binds to its log lines ends with the claim.
        """
        contextvars.copy_context().run(self._work_on, lease, shutdown)

    def _work_on(self, lease: Lease, shutdown: Shutdown) -> None:
        started = time.monotonic()
        heartbeat = Heartbeat(self._queue, lease, self._heartbeat_s, shutdown)
        with structlog.contextvars.bound_contextvars(worker=self.name, task_uuid=lease.id, attempt=lease.attempt):
            with heartbeat.beating():
                step = self._handle(lease, heartbeat)
                kept = self._take(step, shutdown)
            if kept and step.afterwards:
                try:
                    step.afterwards()
                except Exception:
                    # The item is settled already: what fails now affects neither the item nor the worker.
                    log.exception("claim.afterwards_broke")
            log.info("claim.settled", step=step.name, kept=kept, elapsed_s=round(time.monotonic() - started, 3))
        CLAIMS.add(worker=self.kind, step=step.name if kept else "lost")

    def _handle(self, lease: Lease, heartbeat: Heartbeat) -> _Step:
        """Run the handler; returns the step of the queue that follows from its outcome or its error."""
        if lease.crashes >= self._retry_policy.max_crashes:
            message = f"The worker crashed {lease.crashes} times while processing this task; it was given up."
            return self._step_after_error(lease, PermanentError(message))
        try:
            heartbeat.begin()
            return self._step_after(lease, self._handler.handle(lease, heartbeat))
        except CancelledError as error:
            return self._release(lease, error)
        except UvrError as error:
            return self._step_after_error(lease, error)
        except Exception as error:
            if isinstance(error, RedisError) and is_transient(error):
                return self._release(lease, error)
            heartbeat.beat()
            if heartbeat.cancelled():
                # After a long outage another worker has the item, or has finished it and removed its files.
                return self._release(lease, error)
            # A bug in a handler costs this attempt, never the process or the item.
            log.exception("claim.broke")
            return self._step_after_error(lease, TransientError("An internal error occurred; the log has the details."))

    def _step_after(self, lease: Lease, outcome: Done | Later) -> _Step:
        if isinstance(outcome, Later):
            later = outcome
            return _Step(
                "later",
                lambda: self._queue.retry(lease, delay_s=later.delay_s, counts_as=later.counts_as, record=later.record),
            )
        done = outcome
        return _Step(
            "finish",
            lambda: self._queue.finish(lease, next_queue=done.next_queue, record=done.record),
            done.afterwards,
        )

    def _step_after_error(self, lease: Lease, error: UvrError) -> _Step:
        loggable = {name: value for name, value in error.facts.items() if isinstance(value, str | int | float | bool)}
        facts = {"error_kind": type(error).__name__, "error": error.message, **loggable}
        if self._retry_policy.gives_up(lease, error):
            log.error("claim.failed", **facts)
            last = self._handler.give_up(error)
            return _Step(
                "bury", lambda: self._queue.bury(lease, next_queue=last.next_queue, record=last.record), last.afterwards
            )
        delay_s = self._retry_policy.delay_s(lease.failures, error)
        counts_as = self._retry_policy.counts_as(error)
        event = "claim.failed_for_now" if counts_as else "claim.waits_for_room"
        log.warning(event, delay_s=round(delay_s, 1), **facts)
        return _Step(
            "retry" if counts_as else "later",
            lambda: self._queue.retry(lease, delay_s=delay_s, counts_as=counts_as, record=self._waiting_record),
        )

    def _release(self, lease: Lease, error: Exception) -> _Step:
        """Put the item back without counting a failure.

        The item is not to blame: its result is no longer of use, or the handler could not reach Redis.
        """
        log.warning("claim.handed_back", error_kind=type(error).__name__, error=str(error))
        return _Step("release", lambda: self._queue.release(lease, self._waiting_record))

    def _take(self, step: _Step, shutdown: Shutdown) -> bool:
        """Take the step; the work is done, so wait while Redis is down, until `shutdown.abandoned`.

        A step that Redis refuses for good is dropped: the lease expires, and another worker repeats the work. When a
        step was taken but its answer was lost, repeating it finds the lease gone. It then counts as a lost lease, and
        `afterwards` does not run. That leaves only local files behind, which housekeeping removes.
        """
        outage = OutageLog(worker=self.name, step=step.name)
        while True:
            try:
                return step.take()
            except RedisError as error:
                outage.failed(error)
                if not is_transient(error) or shutdown.abandoned.wait(1.0):
                    return False


@dataclass(frozen=True)
class _Step:
    """How a claim ends: `take` calls the queue and returns False if the lease was lost; `afterwards` follows it."""

    name: str
    take: Callable[[], bool]
    afterwards: Callable[[], None] | None = None
