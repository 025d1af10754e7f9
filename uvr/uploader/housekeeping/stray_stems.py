"""Deletes the stems that an uploader left in the storage when it died while their task was being deleted."""

from __future__ import annotations

from uvr.storage.base import Storage
from uvr.tasks.broker import Broker
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.tolerance import Tolerance

_LISTED_FOR_MS = 86_400_000


def delete_stray_stems(broker: Broker, storage: Storage, clock: ClockReading) -> None:
    """Delete what `broker.strays` lists; one that the storage does not delete keeps no other. Raises `RedisError`.

    A stem stays listed for a day, because the request that stores it may arrive after this round.
    """
    tolerance = Tolerance()
    for key, deleted_ms in broker.strays.all():
        with tolerance.deleting("storage.delete_failed", key=key):
            storage.delete(key)
            if clock.has_passed(deleted_ms, _LISTED_FOR_MS):
                broker.strays.remove([key])
        if tolerance.exhausted:
            break
