"""What the worker does when it runs out of something. The attacks on real processes are in tests/acceptance/attacks."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from gunicorn.config import Config

from uvr.api.server import worker
from uvr.api.server.connections import Connection, Connections, State
from uvr.api.server.limits import ClientLimits
from uvr.api.server.worker import PatientWorker

LIMITS = ClientLimits(timeout_s=15, grace_s=300, min_bytes_per_s=0, max_connections=0, trusted_proxies=())


@pytest.fixture
def waiting() -> Iterator[dict[int, tuple[Connection, socket.socket]]]:
    """Connections whose responses hold 10, 30 and 20 MB, and their clients, by size in MB."""
    opened = {}
    with ExitStack() as stack:
        for size_mb in (10, 30, 20):
            server, client = socket.socketpair()
            stack.enter_context(client)
            connection = Connection(Config(), server, ("127.0.0.1", 1), ("127.0.0.1", 2), LIMITS)
            stack.callback(connection.close)
            connection.outbox.sendall(bytes(size_mb * 10**6))
            opened[size_mb] = connection, client
        yield opened


def test_the_largest_responses_end_if_clients_that_do_not_read_hold_too_much_memory(
    waiting: dict[int, tuple[Connection, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_MAX_HELD_BYTES", 40 * 10**6)
    full: Any = object.__new__(PatientWorker)
    full._connections = Connections()
    for connection, _ in waiting.values():
        full._connections.add(connection)
        full._connections.change(connection, State.ANSWERING)
    full._break_off_largest_responses()
    assert waiting[30][1].recv(1) == b""
    for size_mb in (10, 20):
        waiting[size_mb][1].setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting[size_mb][1].recv(1)


@pytest.mark.parametrize(
    ("limits", "allowed", "changed"),
    [
        ((1024, 4096), 2000, (2000, 4096)),
        ((1024, 1500), 1500, (1500, 1500)),
        ((1024, resource.RLIM_INFINITY), 2000, (2000, resource.RLIM_INFINITY)),
        ((3000, 4096), 2000, None),
    ],
    ids=["room", "hard limit", "no hard limit", "enough"],
)
def test_a_process_may_open_as_many_files_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], allowed: int, changed: tuple[int, int] | None
) -> None:
    changes: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: changes.append(value))
    assert worker._allow_open_files(2000) == allowed
    assert changes == ([changed] if changed else [])
