"""What an uploader does with a result: its stems out of the handover folder into the storage, side by side.

Nothing is deleted unsaved: the handover folder goes once the queue has taken note that the stems are stored. A storage
that is away is tried again for as long as the task lives. One that refuses ends the task, whose stems then wait on disk
for an operator to mend the storage and bring the dead letter back; what was stored of them until then is taken out of
the storage again, so that no half result stays anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from config import Settings
from redis_queue import Lease
from uvr import handover
from uvr.endings import failed, succeeded
from uvr.errors import PermanentError, UvrError
from uvr.nodes import lost_with
from uvr.queues import Queues
from uvr.storage.base import Storage
from uvr.storage.content_types import content_type
from uvr.tasks import Task, record
from uvr.worker import Done, Pulse

log = structlog.get_logger()


class StoreHandler:
    """One result: stems from the handover folder into the storage."""

    def __init__(self, settings: Settings, queues: Queues, storage: Storage) -> None:
        self._settings = settings
        self._queues = queues
        self._storage = storage

    def handle(self, lease: Lease, pulse: Pulse) -> Done:
        """Store every stem; safe to repeat, because a stem's key does not depend on the try."""
        task = self._queues.store.get(lease.id)
        if task is None:
            return Done()  # deleted meanwhile
        stems = handover.stems_of(self._settings.output_dir, task.handover)
        if not stems:
            return self._make_again(task)
        keys = {name: self._key(task, name, path) for name, path in stems.items()}
        # Before the first byte is sent: whoever deletes the task knows what of it may lie in the storage.
        pulse.beat(record(stems=keys))
        try:
            self._put_all(stems, keys)
        except PermanentError:
            self._withdraw(keys.values(), pulse)
            raise
        log.info("task.stored", stems=len(keys), storage=self._storage.kind)
        return succeeded(
            self._queues, task, keys, afterwards=lambda: handover.remove(self._settings.output_dir, task.handover)
        )

    def give_up(self, error: UvrError) -> Done:
        """The task has failed; its stems stay on disk."""
        return failed(self._queues, error)

    def _make_again(self, task: Task) -> Done:
        """A node may come back with an empty disk; but one whose processor works elsewhere would go on so for ever."""
        if task.losses >= self._settings.max_attempts:
            raise PermanentError(
                "The finished stems were not on the disk of the node that made them, several times over; whoever runs "
                "this service should see whether its processor and uploader share a disk."
            )
        log.warning("task.made_again", handover=task.handover, losses=task.losses + 1)
        lost = {**lost_with(task.node), **record(losses=task.losses + 1)}
        return Done(lost, next_queue=self._queues.tasks)

    def _key(self, task: Task, name: str, path: Path) -> str:
        return f"{self._settings.s3_key_prefix}{task.task_uuid}_{name}{path.suffix}"

    def _put_all(self, stems: Mapping[str, Path], keys: Mapping[str, str]) -> None:
        with ThreadPoolExecutor(len(stems), thread_name_prefix="put") as pool:
            puts = [
                pool.submit(self._storage.put, path, keys[name], content_type(path.name))
                for name, path in stems.items()
            ]
        for put in puts:
            put.result()

    def _withdraw(self, keys: Iterable[str], pulse: Pulse) -> None:
        """As far as the storage lets us; the task's record tells what may be left there."""
        pulse.beat()
        for key in keys:
            if pulse.cancelled():
                return  # whoever has the task now may have stored it
            try:
                self._storage.delete(key)
            except UvrError as error:
                log.warning("storage.delete_failed", key=key, error=error.message)
