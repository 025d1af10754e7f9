"""The proxies pass everything on until they are told not to."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import requests

from tests.chaos.proxy import Link, Network, network
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.ports import free_port

BODY = bytes(range(256)) * 4000


@pytest.fixture
def proxies() -> Iterator[Network]:
    with network() as proxies:
        yield proxies


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as server:
        server.answer("/song", Answer(body=BODY))
        yield server


@pytest.fixture
def link(proxies: Network, server: HttpServer) -> Link:
    return proxies.open(server.port)


def connected(link: Link) -> socket.socket:
    """A connection that the proxy has passed on to the server."""
    connection = socket.create_connection(("127.0.0.1", link.port), timeout=5)
    connection.sendall(b"GET /song HTTP/1.1\r\n")
    time.sleep(0.2)
    return connection


def test_what_is_sent_arrives(link: Link) -> None:
    assert requests.get(link.url("/song"), timeout=5).content == BODY


def test_a_cut_ends_connections_and_lets_new_ones_through(link: Link) -> None:
    with connected(link) as connection:
        link.cut()
        assert connection.recv(1) == b""
    assert requests.get(link.url("/song"), timeout=5).content == BODY


def test_a_reset_is_heard_as_such(link: Link) -> None:
    with connected(link) as connection:
        link.cut(reset=True)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_nobody_listens_while_connections_are_refused(link: Link) -> None:
    port = link.port
    link.refuse(0.5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    time.sleep(0.8)
    assert requests.get(link.url("/song"), timeout=5).content == BODY
    assert link.port == port


def test_a_delayed_link_takes_longer(link: Link) -> None:
    link.delay(5)
    started = time.monotonic()
    assert requests.get(link.url("/song"), timeout=30).content == BODY
    assert time.monotonic() - started > 0.25


def test_a_link_to_nothing_ends_its_connections(proxies: Network) -> None:
    link = proxies.open(free_port())
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as connection:
        assert connection.recv(1) == b""
