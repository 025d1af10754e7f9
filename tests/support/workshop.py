"""The uploader's workers as threads of a test: the real handlers on real queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

import uploader
from config import Settings
from tests.support.api import settings_for
from tests.support.workers import at_work, wake_workers
from uvr.redis.clients import RedisClients, connect
from uvr.storage.availability import StorageAvailability
from uvr.storage.base import Storage
from uvr.storage.factory import open_storage
from uvr.storage.staging import StagingFolder
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState
from uvr.timestamps import now_ms

_QUICK = {"retry_base_seconds": 0.2, "retry_max_seconds": 0.4, "allowed_private_networks": "127.0.0.0/8"}


@dataclass(frozen=True)
class Workshop:
    """What an uploader needs to work: settings, queues and storage."""

    settings: Settings
    clients: RedisClients
    broker: Broker
    storage: Storage
    client: Redis

    def task(self, task_uuid: str) -> Task:
        """A task that must be there."""
        task = self.broker.store.get(task_uuid)
        assert task is not None, task_uuid
        return task

    def queue_webhook(self, task_uuid: str, owner: str, hook_url: str) -> None:
        """Queue the webhook of a task of `owner` that has failed."""
        task = Task(
            task_uuid,
            "https://songs.example/a.mp3",
            priority=3,
            created_ms=now_ms(),
            owner=owner,
            status=Status.FAILED,
            error_message="It was not audio.",
            hook_url=hook_url,
            webhook=WebhookState.PENDING,
        )
        assert self.broker.webhooks.enqueue(task_uuid, 3, task.to_record()).accepted

    def separated(
        self, task_uuid: str, stems: dict[str, bytes], hook_url: str = "", peaks: Mapping[str, bytes] | None = None
    ) -> Path:
        """A task whose stems lie in the handover folder, which is returned, and whose result is queued."""
        handover = StagingFolder(self.settings.output_dir, task_uuid, 1)
        with handover.filling() as folder:
            for name, samples in stems.items():
                (folder / f"{name}.wav").write_bytes(samples)
            for name, content in (peaks or {}).items():
                (handover.peaks_path / f"{name}.dat").write_bytes(content)
            handover.publish()
        task = Task(
            task_uuid,
            "https://songs.example/a.mp3",
            priority=3,
            created_ms=1_700_000_000_000,
            status=Status.UPLOADING,
            handover=handover.name,
            hook_url=hook_url,
            webhook=WebhookState.PENDING if hook_url else WebhookState.NONE,
        )
        assert self.broker.results.enqueue(task_uuid, 3, task.to_record()).accepted
        return self.settings.output_dir / "pending" / handover.name


@contextmanager
def open_workshop(redis: Redis, folder: Path, **settings: Any) -> Iterator[Workshop]:
    """Queues on this Redis, and the storage that the settings describe, by default below `folder`."""
    chosen = settings_for(redis.get_connection_kwargs(), folder, **{**_QUICK, **settings})
    clients = connect(chosen)
    try:
        yield Workshop(chosen, clients, Broker(chosen, clients), open_storage(chosen, lambda: b"key"), redis)
    finally:
        clients.close()


@contextmanager
def working(workshop: Workshop, *, watched: bool = False) -> Iterator[None]:
    """Run all workers of an uploader until the block ends, with `watched` also the checks of the storage."""
    availability = StorageAvailability(workshop.storage, recheck_s=0.2)
    uploads = Uploads(workshop.settings, workshop.broker.uploads)
    workers = uploader.build_workers(workshop.settings, workshop.broker, workshop.storage, availability, uploads)

    def wake() -> None:
        for queue in (workshop.broker.results, workshop.broker.webhooks):
            wake_workers(workshop.client, queue, len(workers))

    with availability.watching() if watched else nullcontext(), at_work(workers, wake=wake):
        yield
