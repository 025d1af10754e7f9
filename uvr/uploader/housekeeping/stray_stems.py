"""Deletes the stems that an uploader left in the storage when it died while their task was being deleted."""

from __future__ import annotations

import structlog

from uvr.errors import UvrError
from uvr.storage.base import Storage
from uvr.tasks.broker import Broker
from uvr.uploader.housekeeping.clock import ClockReading

log = structlog.get_logger()

_LISTED_FOR_MS = 86_400_000


def delete_stray_stems(broker: Broker, storage: Storage, clock: ClockReading) -> None:
    """Delete what `broker.strays` lists. Raises `redis.RedisError`, and `UvrError` when the storage is not available.

    A stem stays listed for a day, because the request that stores it may arrive after this round.
    """
    for key, deleted_ms in broker.strays.all():
        try:
            storage.delete(key)
        except UvrError as error:
            log.warning("storage.delete_failed", key=key, error=error.message)
            continue
        if clock.has_passed(deleted_ms, _LISTED_FOR_MS):
            broker.strays.remove([key])
