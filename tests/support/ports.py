"""Free ports, for servers that must know their port before they start.

A port that is free now may be taken before its server binds it: by another test run, by a server that asks the system
for any port, or by an outgoing connection. So these ports come from below the range that the system assigns, and a file
lock reserves each of them for as long as this process lives.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PORTS = range(20_000, 32_000)
_LOCKS = Path(tempfile.gettempdir()) / f"uvr-test-ports-{os.getuid()}"
_held: list[int] = []
"""Open files; their locks end with the process, however it ends."""


def free_ports(count: int) -> list[int]:
    """As many different free loopback ports, none of them reserved by another test run."""
    ports = _found()
    return [next(ports) for _ in range(count)]


def free_port() -> int:
    """A free loopback port."""
    return free_ports(1)[0]


def _found() -> Iterator[int]:
    _LOCKS.mkdir(exist_ok=True)
    for port in random.sample(_PORTS, len(_PORTS)):
        if _is_ours(port) and _is_free(port):
            yield port
    raise RuntimeError(f"no port from {_PORTS.start} to {_PORTS.stop} is free")


def _is_ours(port: int) -> bool:
    lock = os.open(_LOCKS / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    _held.append(lock)
    return True


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
