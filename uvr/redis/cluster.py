"""A Redis Cluster that behaves like every other Redis: looked for at the first command, lost, and found again.

redis-py looks for the nodes as soon as its client is made, so a process would end because its Redis is not there yet;
it keeps only the addresses that the nodes last gave it, so a Cluster whose nodes all moved would never be found again;
and it tells of both by errors that are no `RedisError`.
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
    """Has everything that `RedisCluster` has, once its nodes are found; every failure is a `redis.RedisError`.

    `url` is that of one node (redis:// or rediss://) and carries what all nodes share, such as the password; `others`
    are asked when that node is not there. `options` go to every connection.
    """

    def __init__(self, url: str, others: Sequence[Address] = (), **options: Any) -> None:
        self._url = url
        self._others = list(others)
        self._options = options
        self._found: _Nodes | None = None
        self._finding = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nodes(), name)

    def register_script(self, script: str) -> Script:
        """A script that goes where its keys are; needs no node yet."""
        client: Any = self
        return Script(client, script)

    def get_encoder(self) -> Any:
        """How scripts become bytes; needs no node either."""
        return Redis().get_encoder()

    def server_of(self, key: str) -> Redis:
        """The one server that holds `key` at the moment."""
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
        # Where the URL says, and where the nodes were last. Threads look side by side, for looking may take long.
        known = [] if found is None else found.addresses()
        looked_for = _Nodes.at(self._url, [*self._others, *known], self._options)
        with self._finding:
            if self._found is found:
                self._found = looked_for
            return self._found or looked_for


class _Nodes(RedisCluster):
    """The nodes as they were found; `lost` once none of them could say where the others are."""

    lost = False

    @classmethod
    def at(cls, url: str, others: Sequence[Address], options: dict[str, Any]) -> _Nodes:
        nodes = [ClusterNode(host, port) for host, port in dict.fromkeys(others)]  # type: ignore[no-untyped-call]
        try:
            return cls(url=url, startup_nodes=nodes, **options)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error

    def addresses(self) -> list[Address]:
        """Where the nodes are, or were last."""
        return [(node.host, node.port) for node in self.get_nodes()]  # type: ignore[no-untyped-call]

    def server_of(self, key: str) -> Redis:
        with self._noticing_loss():
            return self.get_redis_connection(self.get_node_from_key(key))  # type: ignore[no-untyped-call]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with self._noticing_loss():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool | None = None, shard_hint: Any = None) -> Any:
        pipeline: Any = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        execute = pipeline.execute

        def execute_noticing_loss(raise_on_error: bool = True) -> Any:
            with self._noticing_loss():
                return execute(raise_on_error)

        pipeline.execute = execute_noticing_loss
        return pipeline

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        try:
            yield
        except RedisClusterException as error:
            self.lost = True
            raise RedisConnectionError(str(error)) from error
