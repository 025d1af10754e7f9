"""The open connections of one process: what belongs to each, and how many each address has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto
from socket import socket
from typing import Any

from gunicorn.http.parser import RequestParser

from uvr.api.auth.client_address import counted_address
from uvr.api.server.incoming import BodyReader, IncomingRequest
from uvr.api.server.limits import ClientLimits
from uvr.api.server.outgoing import Outbox


class State(Enum):
    """Who has the connection at the moment."""

    RECEIVING = auto()
    """The event loop, which waits for a request or for the rest of one."""
    ANSWERING = auto()
    """A thread that produces the response, the sender, or a pause."""
    LINGERING = auto()
    """The event loop, which waits for the client to close the connection."""


class Connection:
    """A client's connection, with everything that lives as long as it does. `address` is "" if it is not counted."""

    def __init__(self, cfg: Any, sock: socket, peer: Any, server: Any, limits: ClientLimits) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.peer = peer
        self.server = server
        self.address = counted_address(peer[0], limits.trusted_proxies) if isinstance(peer, tuple) else ""
        self.state = State.RECEIVING
        self.deadline = 0.0  # for the client, unless a request is being answered
        self.incoming = IncomingRequest()
        self.reader = BodyReader(sock, limits)
        self.parser: Any = RequestParser(cfg, sock, peer)
        self.parser.unreader = self.reader
        self.outbox = Outbox(sock, limits)
        self.threads: Any = None  # those that answer the present request
        self.is_stream = False  # whether that asks for a stream of events

    def close(self) -> None:
        """Close it, and drop what was not sent."""
        self.outbox.discard()
        self.sock.close()


class Connections:
    """All connections of a process, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[Connection, None] = {}
        self._by_address: Counter[str] = Counter()
        self._answering: Counter[tuple[str, bool]] = Counter()  # by address, streams apart

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._open

    def add(self, connection: Connection) -> None:
        """Add a connection that was accepted."""
        self._open[connection] = None
        self._by_address[connection.address] += 1

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is to be closed."""
        self.change(connection, State.LINGERING)
        del self._open[connection]
        _decrement(self._by_address, connection.address)

    def change(self, connection: Connection, state: State) -> None:
        """Hand a connection over."""
        was_answering, is_answering = (it is State.ANSWERING for it in (connection.state, state))
        connection.state = state
        counted = connection.address, connection.is_stream
        if is_answering and not was_answering:
            self._answering[counted] += 1
        elif was_answering and not is_answering:
            _decrement(self._answering, counted)

    def of(self, address: str) -> int:
        """How many connections an address has."""
        return self._by_address[address]

    def answering(self, address: str, *, is_stream: bool = False) -> int:
        """How many requests of an address are being answered: streams of events, or all others."""
        return self._answering[address, is_stream]

    def oldest_unused(self, address: str | None = None) -> Connection | None:
        """The oldest connection, of this or of any address, on which no request is being answered."""
        for connection in self._open:
            if connection.state is not State.ANSWERING and address in (None, connection.address):
                return connection
        return None


def _decrement(counter: Counter[Any], key: object) -> None:
    """Count one less, and forget keys that have none left."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
