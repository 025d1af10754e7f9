"""Clients that connect from an address of their choice, send what they are told, and read only when they are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from tests.support.waiting import PATIENCE_S

LOOPBACK = "127.0.0.1"
SMALL_BUFFER_BYTES = 4096
SEGMENT_BYTES = 1000


@contextmanager
def connections(
    url: str, count: int, first: bytes = b"", *, source: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    """Connections with small buffers, whose clients have only sent `first`."""
    address = urlsplit(url)
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            # The server's buffer grows with the size of a segment, which is 64 KiB on loopback and 1.4 elsewhere.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            client.settimeout(PATIENCE_S)
            client.bind((source, 0))
            client.connect((address.hostname or "", address.port or 0))
            client.sendall(first)
            opened.append(client)
        yield opened


def get(url: str, headers: str = "") -> bytes:
    """The bytes of a GET request."""
    address = urlsplit(url)
    return f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: uvr\r\n{headers}\r\n".encode()


def received(client: socket.socket) -> bytes:
    """Everything until the server closes or resets the connection."""
    parts = []
    try:
        while part := client.recv(2**16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
