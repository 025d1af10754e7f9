"""What clients send: a request until it is ready for a thread, and then the rest of its body.

A thread gets a request once its head has arrived, and all of its body or the first 64 KiB of it. Until then the event
loop collects the bytes, which costs no thread however slowly they come.
"""

from __future__ import annotations

import re
import time
from select import POLLIN, poll
from socket import socket

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.unreader import SocketUnreader
from werkzeug.exceptions import RequestTimeout

from uvr.api.server.limits import ClientLimits

SMALL_BODY_BYTES = 64 * 2**10

_MAX_HEAD_BYTES = 64 * 2**10
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([1-9]\d{0,14})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[0-9a-f]+(?=[ \t;\r])", re.IGNORECASE)
_EXPECT_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_PROBE = re.compile(rb"(?:GET|HEAD) /(?:health|ready)[? ]")
_STREAM = re.compile(rb"GET /(?:tasks/[^/ ]+/)?events[? ]")
_TOO_SLOW = "The body arrived too slowly; send it again over a faster connection."


class IncomingRequest:
    """The bytes of a request that have arrived, until there are enough of them to give it a thread."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)
        self._required_bytes = 0  # of head and body, once the head has arrived
        self._chunk_start = 0  # of the next chunk, if the body is chunked

    @property
    def data(self) -> bytes:
        """Everything that has arrived."""
        return bytes(self._data)

    @property
    def has_begun(self) -> bool:
        """Whether anything has arrived."""
        return bool(self._data)

    @property
    def is_probe(self) -> bool:
        """Whether it asks for /health or /ready."""
        return bool(_PROBE.match(self._data))

    @property
    def is_stream(self) -> bool:
        """Whether it asks for a stream of events."""
        return bool(_STREAM.match(self._data))

    def add(self, data: bytes) -> None:
        """Append bytes that have arrived."""
        self._data += data

    def take_expect_continue(self) -> bool:
        """Whether the client waits for a 100 (Continue). Removes the header, however often it was sent.

        Gunicorn would answer it again, on a socket that is an `Outbox`.
        """
        if self._required_bytes or not (head_bytes := self._head_bytes()):
            return False
        head, found = _EXPECT_CONTINUE.subn(b"", self._data[:head_bytes])
        if found:
            self._data[:head_bytes] = head
        return bool(found)

    def is_ready(self) -> bool:
        """Whether a thread would not have to wait for the head or the first 64 KiB of the body."""
        if not self._required_bytes and (head_bytes := self._head_bytes()):
            length = _LENGTH.search(self._data, 0, head_bytes)
            is_chunked = _CHUNKED.search(self._data, 0, head_bytes)
            body_bytes = int(length[1]) if length else SMALL_BODY_BYTES if is_chunked else 0
            self._required_bytes = head_bytes + min(body_bytes, SMALL_BODY_BYTES)
            self._chunk_start = head_bytes if is_chunked and not length else 0
        if self._chunk_start and self._has_all_chunks():
            return True
        return len(self._data) >= (self._required_bytes or _MAX_HEAD_BYTES)

    @property
    def has_head(self) -> bool:
        """Whether all of its head has arrived."""
        return bool(self._head_bytes())

    def _head_bytes(self) -> int:
        """The length of the head, 0 until all of it has arrived."""
        end = self._data.find(_END_OF_HEAD)
        return end + len(_END_OF_HEAD) if end >= 0 else 0

    def _has_all_chunks(self) -> bool:
        """Whether the last chunk has arrived (RFC 9112, section 7.1), or an invalid one, which will be refused."""
        while (end := self._data.find(b"\r\n", self._chunk_start)) >= 0:
            size = _CHUNK_SIZE.match(self._data, self._chunk_start)
            if not size:
                return True
            if not int(size[0], 16):
                return self._data.find(_END_OF_HEAD, end) >= 0
            self._chunk_start = end + int(size[0], 16) + 4
        return False


class BodyReader(SocketUnreader):
    """Reads the rest of a body for a thread, from a socket that does not block, and gives up on a slow client."""

    def __init__(self, sock: socket, limits: ClientLimits) -> None:
        super().__init__(sock)
        self._limits = limits
        self._poll = poll()
        self._poll.register(sock, POLLIN)
        self.begin(b"")

    def begin(self, data: bytes, *, has_head: bool = True) -> None:
        """Begin a request, of which `data` has already arrived. Without all of its head, no more of it is read."""
        self.unread(data)
        self._has_head = has_head
        self._is_over = False
        self._pace = self._limits.sending_pace()

    def end(self) -> None:
        """Do not wait for further bytes: the request has its response."""
        self._is_over = True

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes, b"" if the client has closed the connection.

        Raises `RequestTimeout`, which is a 408, if they come too slowly, and `BlockingIOError` after `end`. Never waits
        for a head: one that is larger than the event loop takes is a 431.
        """
        if not self._has_head:
            raise LimitRequestHeaders(f"the head has more than {_MAX_HEAD_BYTES} bytes")
        while True:
            try:
                data: bytes = super().chunk(size_hint)  # type: ignore[call-arg]  # gunicorn's type stubs are older
            except BlockingIOError:
                if self._is_over:
                    raise
                self._wait()
            else:
                self._pace.waited(0, len(data))
                return data

    def _wait(self) -> None:
        """Wait for bytes."""
        if self._pace.is_too_slow:
            raise RequestTimeout(_TOO_SLOW)
        started = time.monotonic()
        self._poll.poll(self._limits.timeout_s * 1000)
        self._pace.waited(time.monotonic() - started, 0)
