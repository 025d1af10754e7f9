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

_CHECK_EVERY_S = 0.5
"""How often the lease is checked between two beats, so that work on a cancelled task ends soon. A beat that did not
reach Redis is repeated after this time."""


class Heartbeat:
    """Extends the lease of one claim from a thread of its own, and says when the handler should stop."""

    def __init__(self, queue: RedisQueue, lease: Lease, every_s: float, shutdown: Shutdown) -> None:
        self._queue = queue
        self._lease = lease
        self._every_s = every_s
        self._shutdown = shutdown
        self._next_beat_at = 0.0
        self._outage = OutageLog(task_uuid=lease.id)
        self.lost = False

    def begin(self) -> None:
        """Send the first beat; from then on a worker that dies while handling the item counts as a crash.

        Raises `CancelledError` when the work should not begin: the lease is lost, or the process is stopping.
        """
        self.beat()
        if self.stopping():
            raise CancelledError("The work did not begin: the lease is lost, or the process is stopping.")

    def beat(self, record: Record | None = None) -> bool:
        """Extend the lease now, and write `record`, for instance the progress. Does not raise when Redis is down.

        Returns whether Redis has the record: False while it is down, and when the lease is lost.
        """
        try:
            if not self._queue.extend(self._lease, record):
                self.lost = True
            self._next_beat_at = time.monotonic() + self._every_s
            self._outage.recovered()
        except RedisError as error:
            # The lease may outlast the outage. If it does not, the fence keeps this worker from changing anything.
            self._outage.failed(error)
            return False
        return not self.lost

    def cancelled(self) -> bool:
        """Whether the handler should stop at once: the lease is lost, or the grace period of a shutdown is over."""
        return self.lost or self._shutdown.abandoned.is_set()

    def stopping(self) -> bool:
        """Whether work at an early stage should be released: it is cancelled, or the process is stopping."""
        return self._shutdown.requested.is_set() or self.cancelled()

    def beating(self) -> AbstractContextManager[None]:
        """Beat regularly until the block ends."""
        return repeating(self._check, min(self._every_s, _CHECK_EVERY_S), name=f"heartbeat-{self._lease.id}")

    def _check(self) -> None:
        """Beat if a beat is due; otherwise read from Redis whether this claim still holds the lease."""
        if self.lost:
            return
        if time.monotonic() >= self._next_beat_at:
            self.beat()
            return
        try:
            if self._queue.holder(self._lease.id) != self._lease.fence:
                self.lost = True
        except RedisError as error:
            log.debug("pulse.not_looked", error=str(error))  # `beat` logs an outage
