"""What an uploader does with a result: moves its stems from their staging folder into the storage, all at once.

When the same song was separated lately there is no staging folder; the stored stems of the earlier task are copied.

The peaks of the stems are stored with them, and everything that is said of stems here applies to them as well.

No stem is deleted before it is saved: the staging folder is removed once the queue has acknowledged that the stems are
stored. While the storage accepts nothing at all, because it is down or refuses every file, results wait for it. When
it refuses only these stems the task fails. They then stay on disk, in case an operator revives the dead letter, and
those that were already stored are deleted from the storage, so that it never holds half a result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import structlog

from config import Settings
from redis_queue import Lease
from uvr.errors import CancelledError, DiskFullError, PermanentError, TransientError, UvrError
from uvr.liveness.nodes import lost_with
from uvr.metrics.definitions import STORAGE_ERRORS, STORE_SECONDS
from uvr.storage import staging
from uvr.storage.availability import StorageAvailability
from uvr.storage.base import Storage
from uvr.storage.content_types import content_type
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import bind_request_id
from uvr.tasks.download_names import stem_download_name
from uvr.tasks.model import Status, Task, record
from uvr.tasks.outcomes import failed, succeeded
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done

log = structlog.get_logger()

_PEAKS_SUFFIX = ".peaks.dat"
_RETRY_S = 1.0
"""Delay of a result that waits for the storage. No worker claims it before a check of the storage has succeeded."""


class StoreHandler:
    """Handles one result: stems from their staging folder, or copies of stored stems, into the storage."""

    def __init__(
        self, settings: Settings, broker: Broker, storage: Storage, availability: StorageAvailability, uploads: Uploads
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._storage = storage
        self._availability = availability
        self._uploads = uploads

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done:
        """Store every stem; safe to repeat, because a stem has the same key in every attempt."""
        task = self._broker.store.get(lease.id)
        if task is None:
            return Done()  # deleted while the result waited
        bind_request_id(task)
        sources = self._sources(task)
        if not sources:
            return self._separate_again(task)
        prefix = f"{self._settings.s3_key_prefix}{task.task_uuid}"
        keys = {name: f"{prefix}_{name}{PurePosixPath(source).suffix}" for name, source in sources.items()}
        peaks = self._peaks(task)
        peak_keys = {name: f"{prefix}_{name}{_PEAKS_SUFFIX}" for name in peaks}
        everything = [
            (source, keys[name], stem_download_name(task, name, keys[name])) for name, source in sources.items()
        ]
        everything += [(source, peak_keys[name], "") for name, source in peaks.items()]
        # Before the first byte is sent, so that a deletion of the task knows which stems may be in the storage.
        if not heartbeat.beat(record(stems=keys, peaks=peak_keys)):
            raise CancelledError("Storing did not begin: the lease is lost, or Redis does not answer.")
        started, stored_keys = time.monotonic(), [key for _, key, _ in everything]
        try:
            self._store_all(everything)
        except UvrError as error:
            return self._after_error(task, stored_keys, error, heartbeat)
        finally:
            self._clean_up_if_cancelled(task, stored_keys)
        store_s = time.monotonic() - started
        log.info("task.stored", stems=len(keys), storage=self._storage.kind, store_s=round(store_s, 3))
        STORE_SECONDS.observe(store_s, storage=self._storage.kind)
        return succeeded(self._broker, task, keys, store_s=store_s, afterwards=lambda: self._clean_up(task))

    def give_up(self, error: UvrError) -> Done:
        """End the task as failed; its stems stay on disk."""
        return failed(self._broker, error)

    def _sources(self, task: Task) -> Mapping[str, Path | str]:
        """What to store, by stem name: files, or the keys of an earlier task's stems; empty when they are gone."""
        if not task.copy_of:
            return staging.stems_of(self._settings.output_dir, task.handover)
        earlier = self._broker.store.get(task.copy_of)
        return earlier.stems if earlier and not earlier.stems_deleted_ms else {}

    def _peaks(self, task: Task) -> Mapping[str, Path | str]:
        """Like `_sources`, for the peaks of the stems; empty also when a processor of an older version made them."""
        if not task.copy_of:
            return staging.peaks_of(self._settings.output_dir, task.handover)
        earlier = self._broker.store.get(task.copy_of)
        return earlier.peaks if earlier else {}

    def _store_all(self, files: Sequence[tuple[Path | str, str, str]]) -> None:
        """Put or copy each source to its key under its download name; raises the first error once all have ended."""
        with ThreadPoolExecutor(thread_name_prefix="store") as pool:
            futures = [
                pool.submit(self._storage.put, source, key, content_type(source.name), name)
                if isinstance(source, Path)
                else pool.submit(self._storage.copy, source, key, name)
                for source, key, name in files
            ]
        try:
            for future in futures:
                future.result()
        except UvrError as error:
            self._count(error)
            raise

    def _after_error(self, task: Task, keys: Sequence[str], error: UvrError, heartbeat: Heartbeat) -> Done:
        """Raises the error that decides about a retry, unless stems to be copied are gone and can be made again."""
        source_is_gone = task.copy_of and error.facts.get("reason") == "missing"
        is_outage = not source_is_gone and self._availability.confirm_outage()
        if is_outage and not isinstance(error, DiskFullError):
            raise TransientError(error.message, retry_after_s=_RETRY_S, **error.facts) from error
        if isinstance(error, PermanentError):
            heartbeat.beat()
            for key in keys:
                if heartbeat.cancelled():
                    break  # another worker has the result now and may have stored this stem
                self._delete(key)
        if source_is_gone:
            return self._separate_again(task)
        raise error

    def _separate_again(self, task: Task) -> Done:
        """Send the task back to the processors, because its stems are not where they should be."""
        if task.copy_of:
            log.info("task.not_repeated")
            self._broker.result_cache.forget(task.fingerprint)
            queued = record(status=Status.QUEUED, progress=0.0, facts={}, stems={}, peaks={}, copy_of="")
            return Done(queued, next_queue=self._broker.tasks)
        # A node may restart with an empty disk. But if its processor writes to another disk this would never end.
        if task.losses >= self._settings.max_attempts:
            raise PermanentError(
                "The finished stems were repeatedly missing from the disk of the node that made them. The operator of "
                "this service should check that its processor and its uploader share OUTPUT_DIR."
            )
        log.warning("task.made_again", handover=task.handover, losses=task.losses + 1)
        lost = {**lost_with(task.node), **record(losses=task.losses + 1)}
        return Done(lost, next_queue=self._broker.tasks)

    def _clean_up(self, task: Task) -> None:
        """Remove what only an unfinished task needs, and remember its stems for the same song."""
        staging.remove(self._settings.output_dir, task.handover)
        if task.upload:
            self._uploads.try_to_remove(task.upload)
        if not task.copy_of:
            self._broker.result_cache.remember(task.fingerprint, task.task_uuid)

    def _clean_up_if_cancelled(self, task: Task, keys: Sequence[str]) -> None:
        """Delete the stems if the task was cancelled or deleted while they were being stored.

        That action could not delete them itself, because they were not all in the storage yet.
        """
        current = self._broker.store.get(task.task_uuid)
        if current is not None and current.status is not Status.CANCELLED:
            return
        log.info("task.cleared", handover=task.handover)
        self._broker.strays.remove([key for key in keys if self._delete(key)])
        staging.remove(self._settings.output_dir, task.handover)

    def _delete(self, key: str) -> bool:
        """Delete a stem if the storage allows it; if not, the task's record or the strays name what may be left."""
        try:
            self._storage.delete(key)
        except UvrError as error:
            log.warning("storage.delete_failed", key=key, error=error.message)
            self._count(error)
            return False
        return True

    def _count(self, error: UvrError) -> None:
        kind = "permanent" if isinstance(error, PermanentError) else "transient"
        STORAGE_ERRORS.add(storage=self._storage.kind, kind=kind)
