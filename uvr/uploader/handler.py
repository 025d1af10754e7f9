"""What an uploader does with a result: its stems out of the handover folder into the storage, side by side.

A song that was separated lately has nothing in a handover folder; it gets copies of the stems that are stored.

Nothing is deleted unsaved: the handover folder goes once the queue has taken note that the stems are stored. While the
storage takes nothing at all, because it is away or refuses everything, results wait for it. When it refuses these stems
and takes others, the task fails; its stems wait on disk for an operator to bring the dead letter back, and what was
stored of them until then is taken out of the storage again, so that no half result stays anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import structlog

from config import Settings
from redis_queue import Lease
from uvr.errors import PermanentError, TransientError, UvrError
from uvr.liveness.nodes import lost_with
from uvr.metrics.definitions import STORAGE_ERRORS, STORE_SECONDS
from uvr.storage import staging
from uvr.storage.availability import StorageWatch
from uvr.storage.base import Storage
from uvr.storage.content_types import content_type
from uvr.storage.uploads import Uploads
from uvr.tasks.canonical_log import log_request_of
from uvr.tasks.model import Status, Task, record
from uvr.tasks.outcomes import failed, succeeded
from uvr.tasks.queues import Queues
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done

log = structlog.get_logger()

_AGAIN_S = 1.0
"""Until a result is tried again that waits for the storage: no worker claims it before a check has succeeded."""


@dataclass(frozen=True)
class _Stem:
    """A stem that is to be stored under `key`, by `store`."""

    key: str
    store: Callable[[], None]


class StoreHandler:
    """One result: stems from the handover folder into the storage."""

    def __init__(self, settings: Settings, queues: Queues, storage: Storage, watch: StorageWatch) -> None:
        self._settings = settings
        self._queues = queues
        self._storage = storage
        self._watch = watch
        self._uploads = Uploads(settings, queues.uploads)

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done:
        """Store every stem; safe to repeat, because a stem's key does not depend on the try."""
        task = self._queues.store.get(lease.id)
        if task is None:
            return Done()  # deleted meanwhile
        log_request_of(task)
        stems = self._copies(task) if task.copy_of else self._made(task)
        if not stems:
            return self._make_again(task)
        keys = {name: stem.key for name, stem in stems.items()}
        # Before the first byte is sent: whoever deletes the task knows what of it may lie in the storage.
        heartbeat.beat(record(stems=keys))
        started = time.monotonic()
        try:
            self._store_all(stem.store for stem in stems.values())
        except UvrError as error:
            is_gone = task.copy_of and error.facts.get("reason") == "missing"
            if not is_gone and self._watch.is_to_blame():
                raise TransientError(error.message, retry_after_s=_AGAIN_S, **error.facts) from error
            if isinstance(error, PermanentError):
                self._withdraw(keys.values(), heartbeat)
            if is_gone:
                return self._make_again(task)
            raise
        finally:
            self._clear_if_deleted(task, keys.values())
        store_s = time.monotonic() - started
        log.info("task.stored", stems=len(keys), storage=self._storage.kind, store_s=round(store_s, 3))
        STORE_SECONDS.observe(store_s, storage=self._storage.kind)
        return succeeded(self._queues, task, keys, store_s=store_s, afterwards=lambda: self._clean_up(task))

    def give_up(self, error: UvrError) -> Done:
        """The task has failed; its stems stay on disk."""
        return failed(self._queues, error)

    def _clean_up(self, task: Task) -> None:
        staging.remove(self._settings.output_dir, task.handover)
        if task.upload:
            self._uploads.try_to_remove(task.upload)
        if not task.copy_of:
            self._queues.repeats.remember(task.fingerprint, task.task_uuid)

    def _made(self, task: Task) -> dict[str, _Stem]:
        """The stems in the task's handover folder, none if it is gone."""
        paths = staging.stems_of(self._settings.output_dir, task.handover)
        return {name: self._stem(task, name, path) for name, path in paths.items()}

    def _stem(self, task: Task, name: str, path: Path) -> _Stem:
        key = self._key(task, name, path.suffix)
        return _Stem(key, lambda: self._storage.put(path, key, content_type(path.name)))

    def _copies(self, task: Task) -> dict[str, _Stem]:
        """The stems of the task that had the same song, none if it is gone."""
        earlier = self._queues.store.get(task.copy_of)
        stems = earlier.stems if earlier and not earlier.stems_deleted_ms else {}
        return {name: self._copy(task, name, source) for name, source in stems.items()}

    def _copy(self, task: Task, name: str, source: str) -> _Stem:
        key = self._key(task, name, PurePosixPath(source).suffix)
        return _Stem(key, lambda: self._storage.copy(source, key))

    def _make_again(self, task: Task) -> Done:
        """A node may come back with an empty disk; but one whose processor works elsewhere would go on so for ever."""
        if task.copy_of:
            return self._make_after_all(task)
        if task.losses >= self._settings.max_attempts:
            raise PermanentError(
                "The finished stems were not on the disk of the node that made them, several times over; whoever runs "
                "this service should see whether its processor and uploader share a disk."
            )
        log.warning("task.made_again", handover=task.handover, losses=task.losses + 1)
        lost = {**lost_with(task.node), **record(losses=task.losses + 1)}
        return Done(lost, next_queue=self._queues.tasks)

    def _make_after_all(self, task: Task) -> Done:
        """The stems that were to be copied have been deleted meanwhile."""
        log.info("task.not_repeated")
        self._queues.repeats.forget(task.fingerprint)
        anew = record(status=Status.QUEUED, progress=0.0, facts={}, stems={}, copy_of="")
        return Done(anew, next_queue=self._queues.tasks)

    def _key(self, task: Task, name: str, suffix: str) -> str:
        return f"{self._settings.s3_key_prefix}{task.task_uuid}_{name}{suffix}"

    def _store_all(self, steps: Iterable[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(thread_name_prefix="store") as pool:
            stored = [pool.submit(step) for step in steps]
        try:
            for one in stored:
                one.result()
        except UvrError as error:
            self._count(error)
            raise

    def _withdraw(self, keys: Iterable[str], heartbeat: Heartbeat) -> None:
        """As far as the storage lets us; the task's record tells what may be left there."""
        heartbeat.beat()
        for key in keys:
            if heartbeat.cancelled():
                return  # whoever has the task now may have stored it
            self._delete(key)

    def _clear_if_deleted(self, task: Task, keys: Iterable[str]) -> None:
        """Whoever deleted the task meanwhile came too early to delete what has been stored since."""
        now = self._queues.store.get(task.task_uuid)
        if now is not None and now.status is not Status.CANCELLED:
            return
        log.info("task.cleared", handover=task.handover)
        for key in keys:
            self._delete(key)
        staging.remove(self._settings.output_dir, task.handover)

    def _delete(self, key: str) -> None:
        try:
            self._storage.delete(key)
        except UvrError as error:
            log.warning("storage.delete_failed", key=key, error=error.message)
            self._count(error)

    def _count(self, error: UvrError) -> None:
        kind = "permanent" if isinstance(error, PermanentError) else "transient"
        STORAGE_ERRORS.add(storage=self._storage.kind, kind=kind)
