"""Songs on a host that sends a byte now and then: the songs of others are separated meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.redis_server import redis_server
from tests.support.service import Service
from tests.support.small_service import small_settings
from tests.support.waiting import eventually
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task
from uvr.timestamps import now_ms


class Queue:
    """The task queue of a service whose only process is a processor."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def submit(self, owner: str, audio: str) -> str:
        """A task of this user; its id."""
        task = Task(str(uuid.uuid4()), audio, 3, now_ms(), owner=owner)
        self._broker.store.submit(task)
        return task.task_uuid

    def statuses(self, ids: list[str]) -> list[str]:
        """The status of each of these tasks."""
        tasks = [self._broker.store.get(task_uuid) for task_uuid in ids]
        return [task.status for task in tasks if task]


@pytest.fixture
def tasks(tmp_path: Path, trained_models: Path) -> Iterator[Queue]:
    """The tasks of a processor that knows a users file."""
    with redis_server(tmp_path, tcp=True) as redis, processor(tmp_path, redis.port, trained_models) as url:
        clients = connect(small_settings(tmp_path, url))
        yield Queue(Broker(small_settings(tmp_path, url), clients))
        clients.close()


@contextmanager
def processor(folder: Path, redis_port: int, models: Path) -> Iterator[str]:
    """`python processor.py`; yields the URL of its Redis."""
    url, users = f"redis://127.0.0.1:{redis_port}", str(folder / "users")
    service = Service(folder / "service", url, models, BASIC_AUTH_USERS_FILE=users, SHUTDOWN_GRACE_SECONDS="0")
    try:
        service.start("processor")
        yield url
    finally:
        service.stop()


def test_endless_songs_of_one_host_and_of_one_user_do_not_keep_others_waiting(tasks: Queue, web: HttpServer) -> None:
    song = web.answer("/song.wav", Answer(body=encoded(noise(1), ".wav", codec="pcm_s16le")))
    with http_server() as slow, http_server() as other:
        endless = Answer(body=bytes(2**20), drip_s=0.2)
        slow.answer("/song.mp3", endless)
        other.answer("/song.mp3", endless)
        mallory = [tasks.submit("mallory", slow.url("/song.mp3")) for _ in range(3)]
        mallory += [tasks.submit("mallory", other.url("/song.mp3"))]
        mike = [tasks.submit("mike", slow.url("/song.mp3")) for _ in range(2)]
        anna = [tasks.submit("anna", song)]
        eventually(lambda: tasks.statuses(anna) == [Status.UPLOADING], "the song of another user is separated")
        # Users take turns, so the song of anna may be claimed before all places of the others are taken.
        eventually(lambda: tasks.statuses(mallory).count(Status.PROCESSING) == 2, "half of the places")
        eventually(lambda: tasks.statuses(mike).count(Status.PROCESSING) == 1, "the host has all places but one")
        assert tasks.statuses(mallory).count(Status.PROCESSING) == 2
        another = [tasks.submit("anna", song)]
        eventually(lambda: tasks.statuses(another) == [Status.UPLOADING], "and so is the next one")
        assert tasks.statuses(mallory).count(Status.PROCESSING) == 2
        assert tasks.statuses(mike).count(Status.PROCESSING) == 1
