"""How many connections each address has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest
from gunicorn.config import Config

from uvr.api.server.connections import Connection, Connections, State
from uvr.api.server.limits import ClientLimits

PROXIES = (ip_network("10.0.0.0/8"),)
LIMITS = ClientLimits(timeout_s=15, grace_s=300, min_bytes_per_s=0, max_connections=2, trusted_proxies=PROXIES)


class Opener:
    """Opens connections that are closed at the end of the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, address: str) -> Connection:
        """A connection from this address."""
        server, client = socket.socketpair()
        self._stack.enter_context(client)
        connection = Connection(Config(), server, (address, 1234) if address else "", ("127.0.0.1", 80), LIMITS)
        self._stack.callback(connection.close)
        return connection


@pytest.fixture
def opened() -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(stack)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.1.2.3", ""),
        ("", ""),
    ],
    ids=["IPv4", "mapped", "IPv6", "loopback", "proxy", "Unix socket"],
)
def test_addresses_are_counted_as_their_networks_and_proxies_not_at_all(
    opened: Opener, peer: str, address: str
) -> None:
    assert opened(peer).address == address


def test_connections_and_requests_are_counted_by_address(opened: Opener) -> None:
    connections = Connections()
    first, second, other = opened("192.0.2.1"), opened("192.0.2.1"), opened("192.0.2.2")
    for connection in (first, second, other):
        connections.add(connection)
    connections.change(first, State.ANSWERING)
    connections.change(first, State.ANSWERING)
    other.is_stream = True
    connections.change(other, State.ANSWERING)
    assert (connections.answering("192.0.2.2"), connections.answering("192.0.2.2", is_stream=True)) == (0, 1)
    assert (connections.of("192.0.2.1"), connections.answering("192.0.2.1")) == (2, 1)
    connections.change(first, State.RECEIVING)
    connections.change(second, State.ANSWERING)
    connections.remove(second)
    assert (connections.of("192.0.2.1"), connections.answering("192.0.2.1")) == (1, 0)
    assert second not in connections
    assert list(connections) == [first, other]


def test_the_oldest_connection_without_a_request_goes_first(opened: Opener) -> None:
    connections = Connections()
    busy, old, other, new = (opened(f"192.0.2.{number}") for number in (1, 1, 2, 1))
    for connection in (busy, old, other, new):
        connections.add(connection)
    connections.change(busy, State.ANSWERING)
    assert connections.oldest_unused("192.0.2.1") is old
    assert connections.oldest_unused("192.0.2.2") is other
    assert connections.oldest_unused() is old
    for connection in (old, other, new):
        connections.change(connection, State.ANSWERING)
    assert connections.oldest_unused() is None
