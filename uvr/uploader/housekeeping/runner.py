"""Runs the housekeeping every JANITOR_SECONDS, in a thread of the uploader.

All uploaders do this; what one of them finds gone, another has removed. An error in one step never ends the process: it
is logged, and the step runs again in the next round.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import structlog
from redis import RedisError

from config import Settings
from uvr.errors import UvrError
from uvr.periodic import repeating
from uvr.storage.base import Storage
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import DeadLetters
from uvr.uploader.housekeeping.clock import HousekeepingClock
from uvr.uploader.housekeeping.orphans import OrphanCleaner
from uvr.uploader.housekeeping.retention import Retention
from uvr.uploader.housekeeping.stale_uploads import StaleUploads
from uvr.uploader.housekeeping.stray_stems import delete_stray_stems

log = structlog.get_logger()

Result = TypeVar("Result")


class Housekeeping:
    """Keeps this node's folders, and the task records of all nodes, free of what is no longer needed."""

    def __init__(self, settings: Settings, broker: Broker, storage: Storage, uploads: Uploads) -> None:
        self._every_s = settings.janitor_seconds
        self._clock = HousekeepingClock(broker.client, broker.root)
        self.problem = ""
        """Why things are kept although they may have reached their maximum age, in sentences; "" for no reason."""
        self._on_change: Callable[[], None] = lambda: None
        self._orphans = OrphanCleaner(settings, broker)
        self._stale_uploads = StaleUploads(settings, broker, uploads)
        self._delete_stray_stems = partial(delete_stray_stems, broker, storage)
        self._retention = Retention(settings, broker, DeadLetters(broker), storage)

    def running(self, on_change: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
        """Run rounds until the block ends, the first one immediately; `on_change` is called when `problem` changes."""
        self._on_change = on_change
        return repeating(self.round, self._every_s, name="housekeeping", at_once=True)

    def round(self) -> None:
        """Run every step once; an error in one does not keep the others from running."""
        clock = self._tried(self._clock.read)
        if clock is None:
            return
        self._tried(partial(self._orphans.clean, clock))
        self._tried(partial(self._stale_uploads.clear, clock))
        self._tried(partial(self._delete_stray_stems, clock))
        problem = self._tried(partial(self._retention.enforce, clock))
        if problem is not None:
            self._report(clock.distrust or problem)

    def _tried(self, step: Callable[[], Result]) -> Result | None:
        """The result of `step`; None, and a line in the log, if it fails."""
        try:
            return step()
        except (RedisError, UvrError) as error:
            log.warning("housekeeping.put_off", error_kind=type(error).__name__, error=str(error))
        except Exception:
            log.exception("housekeeping.broke")
        return None

    def _report(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if bool(problem) != bool(before):
            log.warning("retention.paused" if problem else "retention.goes_on", reason=problem)
        if problem != before:
            self._on_change()
