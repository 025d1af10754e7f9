"""Clears away songs that clients sent along and that no task needs any more.

Every song is in a list from before its first byte is stored (uvr.storage.upload_index), so none is overlooked, in a
bucket or on a disk, whoever died over it. It goes when its task has succeeded or was deleted, UPLOAD_RETENTION_HOURS
after it failed or was cancelled, and when no task came for it within an hour. Files that the list does not know,
because this is not the Redis that knew them or because they were never received to the end, go when they have not
changed for a day.
"""

from __future__ import annotations

import structlog

from config import Settings
from uvr.storage.uploads import Uploads, discard, is_left, remove_abandoned_parts, task_of, upload_dir
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.task_files import TASK_UUID, files_below

log = structlog.get_logger()

_UPLOAD = rf"\.?{TASK_UUID}\.[0-9a-f]{{32}}(\.[0-9a-f]{{16}})?"
_HOUR_MS = 3_600_000


class StaleUploads:
    """The songs of this service; on its disk, those of this node."""

    def __init__(self, settings: Settings, broker: Broker, uploads: Uploads) -> None:
        self._settings = settings
        self._kept_ms = round(settings.upload_retention_hours * _HOUR_MS)
        self._broker = broker
        self._uploads = uploads

    def clear(self) -> None:
        """One round. Raises `redis.RedisError`, and `UvrError` when the storage does not delete a song."""
        listed_until_ms = self._broker.uploads.now_ms()
        for key, beside in self._broker.uploads.all():
            if not self._is_needed(key, beside, listed_until_ms) and self._uploads.remove(key, beside):
                log.info("upload.removed", task_uuid=task_uuid_of(key))
        remove_abandoned_parts(self._settings)
        for found in files_below(upload_dir(self._settings), _UPLOAD):
            if is_left(found.path) and f"uploads/{found.path.name}" not in self._broker.uploads:
                discard(found.path)

    def _is_needed(self, key: str, beside: int, listed_until_ms: int) -> bool:
        if beside > 0:
            return listed_until_ms - beside < _HOUR_MS  # its task is still to come
        task = self._broker.store.get(task_of(key)) if beside == 0 else None
        if task is None or task.status is Status.SUCCESS:
            return False
        return not task.status.is_final or now_ms() - task.finished_ms < self._kept_ms
