"""The whole service as threads of a test: the real API and uploader, and a processor that writes fake stems.

For tests of what happens to tasks when Redis or another part fails. Every step of a task is real but its separation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from redis import RedisError

import uploader
from config import Settings, read_settings
from redis_queue import Lease
from tests.support.api import CREDENTIALS, PASSWORD, USER, application
from tests.support.waiting import eventually
from tests.support.workers import at_work
from uvr.redis.clients import RedisClients, connect
from uvr.storage.availability import StorageAvailability
from uvr.storage.local import LocalStorage
from uvr.storage.staging import StagingFolder
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, record
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.worker import Worker

QUICK = {
    "lease_seconds": 2,
    "heartbeat_seconds": 0.5,
    "retry_base_seconds": 0.05,
    "retry_max_seconds": 0.1,
    "allowed_private_networks": "127.0.0.0/8",
    "upload_threads": 1,
    "webhook_threads": 1,
}
COMMAND_TIMEOUT_S = 1.0
SONG = "https://songs.example.org/a.mp3"


def small_settings(folder: Path, redis_url: str, **overrides: Any) -> Settings:
    """Settings for this Redis with short times and all folders below `folder`."""
    where = {
        "redis_url": redis_url,
        "temp_dir": folder / "temp",
        "output_dir": folder / "output",
        "basic_auth_username": USER,
        "basic_auth_password": PASSWORD,
    }
    return read_settings(**where, **{**QUICK, **overrides})


@dataclass(frozen=True)
class SmallService:
    """The service as a test uses and inspects it. Workers run only within `working`."""

    settings: Settings
    clients: RedisClients
    broker: Broker
    api: FlaskClient

    def submit(self, **body: Any) -> Any:
        """The answer to POST /generate."""
        return self.api.post("/generate", json={"audio": SONG, **body}, auth=CREDENTIALS)

    def accepted(self, **body: Any) -> str:
        """The id of a task that must be accepted."""
        answer = self.submit(**body)
        assert answer.status_code == 202, answer.text
        task_uuid: str = answer.json["task_uuid"]
        return task_uuid

    def get(self, path: str) -> Any:
        """The answer to a GET with the right password."""
        return self.api.get(path, auth=CREDENTIALS)

    def task(self, task_uuid: str) -> Task:
        """A task that must be there."""
        task = self.broker.store.get(task_uuid)
        assert task is not None, task_uuid
        return task

    def ended(self, ids: Sequence[str]) -> list[Task]:
        """The tasks, once there is no more work for any of them."""
        eventually(lambda: not self._is_anything_left(), "all work is done")
        return [self.task(task_uuid) for task_uuid in ids]

    @contextmanager
    def working(self, processors: int = 1) -> Iterator[None]:
        """Run this many processors and an uploader until the block ends."""
        with at_work(self._workers(processors)):
            yield

    def _workers(self, processors: int) -> list[Worker]:
        storage = LocalStorage(self.settings.output_dir, "http://uvr.test", lambda: b"key")
        made = [self._processor(f"processor-{number}") for number in range(processors)]
        uploads = Uploads(self.settings, self.broker.uploads)
        availability = StorageAvailability(storage)
        return [*made, *uploader.build_workers(self.settings, self.broker, storage, availability, uploads)]

    def _processor(self, name: str) -> Worker:
        return Worker(
            name,
            self.broker.tasks,
            StemMaker(self.settings, self.broker),
            retry_policy=RetryPolicy(),
            heartbeat_s=self.settings.heartbeat_seconds,
            waiting_record=record(status=Status.QUEUED, progress=0.0),
        )

    def _is_anything_left(self) -> bool:
        try:
            sizes = [queue.sizes() for queue in (self.broker.tasks, self.broker.results, self.broker.webhooks)]
        except RedisError:
            return True  # this client has yet to find out where Redis is now
        return any(size.waiting + size.leased + size.delayed for size in sizes)


class StemMaker:
    """A processor's handler without the separation."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._settings = settings
        self._broker = broker

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done:
        handover = StagingFolder(self._settings.output_dir, lease.id, lease.fence)
        with handover.filling() as folder:
            for stem in ("vocals", "instrumental"):
                (folder / f"{stem}.wav").write_bytes(lease.id.encode())
            handover.publish()
        return Done(record(status=Status.UPLOADING, handover=handover.name), next_queue=self._broker.results)

    def give_up(self, error: Exception) -> Done:
        return Done(record(status=Status.FAILED))


@contextmanager
def small_service(settings: Settings) -> Iterator[SmallService]:
    """The service with a short timeout for Redis, which need not be up yet."""
    with ExitStack() as opened:
        app = opened.enter_context(application(settings))
        clients = connect(settings, command_timeout_s=COMMAND_TIMEOUT_S)
        opened.callback(clients.close)
        yield SmallService(settings, clients, Broker(settings, clients), app.test_client())
