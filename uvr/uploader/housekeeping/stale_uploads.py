"""Deletes songs that clients uploaded and that no task needs any more.

Every upload is in an index from before its first byte is stored (`uvr.storage.upload_index`), so none is overlooked, in
a bucket or on a disk, even if a process was killed over it. It is deleted when its task has succeeded or was deleted,
UPLOAD_RETENTION_HOURS after its task failed or was cancelled, and when no task came for it within an hour. Files that
are not in the index, because another Redis had it or because they were never received completely, are deleted when
they have not changed for a day.
"""

from __future__ import annotations

import structlog

from config import Settings
from uvr.storage.uploads import Uploads, discard, is_abandoned, remove_abandoned_parts, task_uuid_of, upload_dir
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.task_files import TASK_UUID, files_below
from uvr.uploader.housekeeping.tolerance import Tolerance

log = structlog.get_logger()

_UPLOAD = rf"\.?{TASK_UUID}\.[0-9a-f]{{32}}(\.[0-9a-f]{{16}})?"
_HOUR_MS = 3_600_000


class StaleUploads:
    """The uploads in the bucket, or on this node's disk when there is no bucket."""

    def __init__(self, settings: Settings, broker: Broker, uploads: Uploads) -> None:
        self._settings = settings
        self._kept_ms = round(settings.upload_retention_hours * _HOUR_MS)
        self._broker = broker
        self._uploads = uploads

    def clear(self, clock: ClockReading) -> None:
        """Delete them once; one that the storage does not delete keeps none of the others. Raises `redis.RedisError`.

        `clock` was read before.
        """
        tolerance = Tolerance()
        for key, state in self._broker.uploads.all():
            with tolerance.deleting("upload.not_removed", task_uuid=task_uuid_of(key)):
                if not self._is_needed(key, state, clock) and self._uploads.remove(key, state):
                    log.info("upload.removed", task_uuid=task_uuid_of(key))
            if tolerance.exhausted:
                break
        self._broker.uploads.forget_removed()
        remove_abandoned_parts(self._settings, clock.has_passed)
        for upload in files_below(upload_dir(self._settings), _UPLOAD):
            key = f"uploads/{upload.path.name}"
            if is_abandoned(upload.path, clock.has_passed) and key not in self._broker.uploads:
                discard(upload.path)

    def _is_needed(self, key: str, state: int, clock: ClockReading) -> bool:
        """`state` is the upload's state in the index."""
        if state > 0:  # since when the upload waits for its task
            return not clock.has_passed(state, _HOUR_MS)
        task = self._broker.store.get(task_uuid_of(key)) if state == 0 else None
        if task is None or task.status is Status.SUCCESS:
            return False
        return not task.status.is_final or not clock.has_passed(task.finished_ms, self._kept_ms)
