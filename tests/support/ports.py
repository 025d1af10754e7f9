"""Free ports, for servers that must be told theirs before they start."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """That many loopback ports on which nobody listens at the moment, no two the same."""
    # All are held until all are known, so that none is given twice.
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listening.getsockname()[1]) for listening in sockets]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
