"""The heartbeat of one claim: extends its lease, and stops the handler when the lease is lost."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import structlog
from redis import RedisError

from redis_queue import Lease, Record, RedisQueue
from uvr.errors import CancelledError
from uvr.periodic import repeating
from uvr.redis.outage_log import OutageLog
from uvr.worker.shutdown import Shutdown

log = structlog.get_logger()

_LOOK_EVERY_S = 0.5
"""How often a claim is looked after between its beats: a task that was cancelled is not worked on for long, and a beat
that did not reach Redis is soon followed by another one."""


class Heartbeat:
    """The life sign of one claim: extends the lease in a thread of its own, and tells the handler to stop."""

    def __init__(self, queue: RedisQueue, lease: Lease, every_s: float, shutdown: Shutdown) -> None:
        self._queue = queue
        self._lease = lease
        self._every_s = every_s
        self._shutdown = shutdown
        self._due = 0.0
        self._trouble = OutageLog(task_uuid=lease.id)
        self.lost = False

    def begin(self) -> None:
        """The first beat, from which on a worker that dies over the item counts as a crash.

        Raises `CancelledError` when there is no point in beginning: the lease is lost, or the process stops.
        """
        self.beat()
        if self.stopping():
            raise CancelledError("The work was not begun: the lease is lost, or the process stops.")

    def beat(self, record: Record | None = None) -> None:
        """Extend the lease now, and write `record`, for instance the progress. Never raises for an absent Redis."""
        try:
            if not self._queue.extend(self._lease, record):
                self.lost = True
            self._due = time.monotonic() + self._every_s
            self._trouble.recovered()
        except RedisError as error:
            # The lease may outlive the outage; whoever claims next decides, by its fence.
            self._trouble.failed(error)

    def cancelled(self) -> bool:
        """Whether the result is no longer wanted: the lease is lost, or the process stops and its grace is over."""
        return self.lost or self._shutdown.abandoned.is_set()

    def stopping(self) -> bool:
        """Whether work in an early stage had better be handed back: it is cancelled, or the process is told to stop."""
        return self._shutdown.requested.is_set() or self.cancelled()

    def beating(self) -> AbstractContextManager[None]:
        """Beat regularly until the block ends."""
        return repeating(self._look, min(self._every_s, _LOOK_EVERY_S), name=f"pulse-{self._lease.id}")

    def _look(self) -> None:
        if self.lost:
            return
        if time.monotonic() >= self._due:
            self.beat()
        else:
            self._look_whether_held()

    def _look_whether_held(self) -> None:
        try:
            if self._queue.holder(self._lease.id) != self._lease.fence:
                self.lost = True
        except RedisError as error:
            log.debug("pulse.not_looked", error=str(error))  # beats tell of an outage
