"""A request and its response, with both ends of the connection in the test."""

from __future__ import annotations

import itertools
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import Any

import pytest
from gunicorn.config import Config

from tests.support.waiting import PATIENCE_S
from uvr.api.server.connections import Connection
from uvr.api.server.exchange import Exchange
from uvr.api.server.limits import ClientLimits
from uvr.api.server.streams import PAUSE

LIMITS = ClientLimits(timeout_s=15, grace_s=300, min_bytes_per_s=0, max_connections=0, trusted_proxies=())
GET = b"GET / HTTP/1.1\r\nHost: uvr\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: uvr\r\nContent-Length: 2\r\n\r\n"
PIECE = bytes(2**20)


class Server:
    """A worker with this application."""

    def __init__(self, wsgi: Callable[..., Iterable[bytes]]) -> None:
        self.cfg = Config()
        self.log = logging.getLogger(__name__)  # for gunicorn's hooks
        self.wsgi = wsgi

    def may_keep_alive(self) -> bool:
        return True


@contextmanager
def exchange(wsgi: Callable[..., Iterable[bytes]], sent: bytes) -> Iterator[tuple[Exchange, Connection, socket.socket]]:
    """An exchange that has not begun, for a client that has `sent` this."""
    client, server = socket.socketpair()
    with client:
        client.settimeout(PATIENCE_S)
        connection = Connection(Config(), server, ("127.0.0.1", 1), ("127.0.0.1", 2), LIMITS)
        connection.reader.begin(sent)
        with closing(connection):
            yield Exchange(Server(wsgi), connection), connection, client


def small(_environ: Any, start_response: Any) -> list[bytes]:
    """An application that reads nothing of the body."""
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def test_small_response_is_sent_at_once() -> None:
    with exchange(small, GET) as (it, connection, client):
        it.advance()
        assert it.is_over
        assert it.keeps_connection
        assert connection.outbox.is_empty
        assert client.recv(4096).endswith(b"\r\n\r\nok")


def test_a_response_that_pauses_leaves_its_thread_and_says_for_how_long() -> None:
    def pausing(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"before"
        environ[PAUSE](7.0)
        yield b""
        yield b"after"

    with exchange(pausing, GET) as (it, connection, client):
        it.advance()
        assert (it.is_over, it.pause_s, connection.outbox.is_empty) == (False, 7.0, True)
        assert client.recv(4096).endswith(b"\r\n6\r\nbefore\r\n"), "an empty piece must not end the response"
        it.advance()
        assert (it.is_over, it.pause_s) == (True, None)
        assert client.recv(4096) == b"5\r\nafter\r\n0\r\n\r\n"


def test_an_endless_response_stops_until_the_client_takes_it_and_continues_in_its_context() -> None:
    number = ContextVar[int]("number")
    ended = []

    def endless(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        token = number.set(0)
        try:
            while True:
                number.set(number.get() + 1)
                yield PIECE
        finally:
            ended.append(number.get())
            number.reset(token)

    with exchange(endless, GET) as (it, connection, client):
        it.advance()
        assert not it.is_over
        assert connection.outbox.held_bytes <= len(PIECE) + 100
        while not connection.outbox.flush():
            client.recv(2**20)
        for step in (it.advance, it.abort):  # each in a thread of its own
            thread = Thread(target=step)
            thread.start()
            thread.join()
        assert it.is_over
    assert ended == [2]


@pytest.mark.parametrize(
    ("sent", "stays_open"),
    [(POST + b"{}", True), (POST + b"{", False)],
    ids=["complete", "incomplete"],
)
def test_an_unread_body_costs_a_client_its_connection_only_if_it_has_not_arrived(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, stays_open: bool
) -> None:
    instants = itertools.count(step=60)  # a thread that is not scheduled for a minute
    monkeypatch.setattr("gunicorn.http.parser.time.monotonic", lambda: next(instants))
    with exchange(small, sent) as (it, _, _):
        it.advance()
        assert (it.is_over, it.keeps_connection) == (True, stays_open)


def test_an_application_that_breaks_gives_a_500_and_never_half_a_response_followed_by_one() -> None:
    def broken(environ: Any, start_response: Any) -> Iterator[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            start_response("200 OK", [("Content-Length", "10")])
            yield b"half"
        raise ValueError

    with exchange(broken, GET) as (it, connection, client):
        it.advance()
        assert connection.outbox.flush()
        assert client.recv(4096).startswith(b"HTTP/1.1 500 ")
    with exchange(broken, POST + b"{}") as (it, _, client):
        it.advance()
        assert not it.keeps_connection
        assert client.recv(4096).endswith(b"\r\n\r\nhalf")
        assert client.recv(4096) == b""
