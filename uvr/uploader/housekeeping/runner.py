"""What an uploader does beside its work, every JANITOR_SECONDS: the janitor's round, and what is too old goes.

All uploaders do it; whatever one finds gone, another has done. Nothing that goes wrong here ends the process: it is
logged, and tried again in the next round.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog
from redis import RedisError

from config import Settings
from uvr.errors import UvrError
from uvr.periodic import repeating
from uvr.redis.clients import RedisClients
from uvr.storage.base import Storage
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.queues import Queues
from uvr.uploader.housekeeping.orphans import OrphanCleaner
from uvr.uploader.housekeeping.retention import Retention
from uvr.uploader.housekeeping.stale_uploads import StaleUploads

log = structlog.get_logger()


class Housekeeping:
    """Keeps the folders of this node, and the records of all, free of what is over."""

    def __init__(self, settings: Settings, clients: RedisClients, queues: Queues, storage: Storage) -> None:
        self._every_s = settings.janitor_seconds
        self._janitor = OrphanCleaner(settings, queues)
        self._left_uploads = StaleUploads(settings, queues)
        self._retention = Retention(settings, queues, DeadLetters(settings, clients), storage)

    def running(self) -> AbstractContextManager[None]:
        """Do rounds until the block ends, the first one now."""
        return repeating(self.round, self._every_s, name="housekeeping", at_once=True)

    def round(self) -> None:
        """One round of everything."""
        self._try(self._janitor.clean)
        self._try(self._left_uploads.clear)
        self._try(self._retention.enforce)

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (RedisError, UvrError) as error:
            log.warning("housekeeping.put_off", error_kind=type(error).__name__, error=str(error))
        except Exception:
            log.exception("housekeeping.broke")
