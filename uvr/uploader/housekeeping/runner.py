"""Runs the housekeeping every JANITOR_SECONDS, in a thread of the uploader.

All uploaders do this; what one of them finds gone, another has removed. An error in one step never ends the process: it
is logged, and the step runs again in the next round.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import structlog
from redis import RedisError

from config import Settings
from uvr.errors import UvrError
from uvr.periodic import repeating
from uvr.storage.base import Storage
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import DeadLetters
from uvr.uploader.housekeeping.orphans import OrphanCleaner
from uvr.uploader.housekeeping.retention import Retention
from uvr.uploader.housekeeping.stale_uploads import StaleUploads

log = structlog.get_logger()


class Housekeeping:
    """Keeps this node's folders, and the task records of all nodes, free of what is no longer needed."""

    def __init__(self, settings: Settings, broker: Broker, storage: Storage, uploads: Uploads) -> None:
        self._every_s = settings.janitor_seconds
        self._orphans = OrphanCleaner(settings, broker)
        self._stale_uploads = StaleUploads(settings, broker, uploads)
        self._retention = Retention(settings, broker, DeadLetters(broker), storage)

    def running(self) -> AbstractContextManager[None]:
        """Run rounds until the block ends, the first one immediately."""
        return repeating(self.round, self._every_s, name="housekeeping", at_once=True)

    def round(self) -> None:
        """Run every step once; an error in one does not keep the others from running."""
        for step in (self._orphans.clean, self._stale_uploads.clear, self._retention.enforce):
            try:
                step()
            except (RedisError, UvrError) as error:
                log.warning("housekeeping.put_off", error_kind=type(error).__name__, error=str(error))
            except Exception:
                log.exception("housekeeping.broke")
