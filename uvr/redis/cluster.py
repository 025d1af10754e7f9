"""A Redis Cluster client that behaves like every other Redis client.

The client of redis-py differs in three ways. It connects to the nodes as soon as it is made, so a process could not
start before its Redis. It keeps only the addresses that the nodes reported last, so it would never find a Cluster again
whose nodes have all moved. And it reports both by errors that are not a `RedisError`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.commands.core import Script
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException

Address = tuple[str, int]


class Cluster:
    """Has all commands of `RedisCluster`; the first one connects. Every failure is a `redis.RedisError`.

    `url` names one node (redis:// or rediss://) and carries what all nodes share, such as the password. `others` are
    tried when that node is not there. `options` go to every connection.
    """

    def __init__(self, url: str, others: Sequence[Address] = (), **options: Any) -> None:
        self._url = url
        self._others = list(others)
        self._options = options
        self._found: _Nodes | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nodes(), name)

    def register_script(self, script: str) -> Script:
        """A script that runs on the node that has its keys; needs no connection yet."""
        client: Any = self
        return Script(client, script)

    def get_encoder(self) -> Any:
        """The encoder that redis-py hashes scripts with; needs no connection either."""
        return Redis().get_encoder()

    def server_of(self, key: str) -> Redis:
        """The node that holds `key` at the moment."""
        server: Redis = self._nodes().server_of(key)
        return server

    def close(self) -> None:
        """Close all connections; the next command opens new ones."""
        found, self._found = self._found, None
        if found is not None:
            found.close()

    def _nodes(self) -> Any:
        found = self._found
        if found is not None and not found.lost:
            return found
        # Try the addresses in the URL, and those where the nodes were last. Without the lock: this may take long.
        last_known = [] if found is None else found.addresses()
        connected = _Nodes.connect(self._url, [*self._others, *last_known], self._options)
        with self._lock:
            if self._found is found:
                self._found = connected
            return self._found or connected


class _Nodes(RedisCluster):
    """The nodes of a Cluster; `lost` is True once none of them could report where the others are."""

    lost = False

    @classmethod
    def connect(cls, url: str, others: Sequence[Address], options: dict[str, Any]) -> _Nodes:
        nodes = [ClusterNode(host, port) for host, port in dict.fromkeys(others)]  # type: ignore[no-untyped-call]
        try:
            return cls(url=url, startup_nodes=nodes, **options)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error

    def addresses(self) -> list[Address]:
        """The addresses of the nodes, as last reported."""
        return [(node.host, node.port) for node in self.get_nodes()]  # type: ignore[no-untyped-call]

    def server_of(self, key: str) -> Redis:
        with self._detecting_loss():
            return self.get_redis_connection(self.get_node_from_key(key))  # type: ignore[no-untyped-call]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with self._detecting_loss():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool | None = None, shard_hint: Any = None) -> Any:
        pipeline: Any = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        execute = pipeline.execute

        def execute_detecting_loss(raise_on_error: bool = True) -> Any:
            with self._detecting_loss():
                return execute(raise_on_error)

        pipeline.execute = execute_detecting_loss
        return pipeline

    @contextmanager
    def _detecting_loss(self) -> Iterator[None]:
        try:
            yield
        except RedisClusterException as error:
            self.lost = True
            raise RedisConnectionError(str(error)) from error
