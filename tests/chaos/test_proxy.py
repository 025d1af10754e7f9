"""The proxies forward everything, and disturb connections on command."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import requests

from tests.chaos.proxy import Link, Network, network
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S, eventually

BODY = bytes(range(256)) * 4000


@pytest.fixture
def proxies() -> Iterator[Network]:
    with network() as proxies:
        yield proxies


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as server:
        server.answer("/song", Answer(body=BODY))
        server.answer("/late", Answer(delay_s=100))
        yield server


@pytest.fixture
def link(proxies: Network, server: HttpServer) -> Link:
    return proxies.open(server.port)


def connected(link: Link, server: HttpServer) -> socket.socket:
    """A connection through the proxy to the server, which has not answered yet."""
    connection = socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE_S)
    connection.sendall(b"GET /late HTTP/1.1\r\n\r\n")
    eventually(lambda: server.requests, "the request arrives")
    return connection


def test_what_is_sent_arrives(link: Link) -> None:
    assert requests.get(link.url("/song"), timeout=PATIENCE_S).content == BODY


def test_a_cut_closes_connections_and_allows_new_ones(link: Link, server: HttpServer) -> None:
    with connected(link, server) as connection:
        link.cut()
        assert connection.recv(1) == b""
    assert requests.get(link.url("/song"), timeout=PATIENCE_S).content == BODY


def test_a_reset_reaches_the_peer(link: Link, server: HttpServer) -> None:
    with connected(link, server) as connection:
        link.cut(reset=True)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_link_that_refuses_connections_accepts_them_again(link: Link) -> None:
    port = link.port
    link.refuse(2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    eventually(lambda: answers(link), "it listens again")
    assert requests.get(link.url("/song"), timeout=PATIENCE_S).content == BODY
    assert link.port == port


def answers(link: Link) -> bool:
    try:
        socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_delayed_link_takes_longer(link: Link) -> None:
    link.delay(5)
    started = time.monotonic()
    assert requests.get(link.url("/song"), timeout=PATIENCE_S).content == BODY
    assert time.monotonic() - started > 0.25


def test_a_link_to_a_closed_port_closes_its_connections(proxies: Network) -> None:
    link = proxies.open(free_port())
    with socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE_S) as connection:
        assert connection.recv(1) == b""
