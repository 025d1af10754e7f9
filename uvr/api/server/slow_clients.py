"""A gunicorn worker whose threads do not wait for slow clients: its event loop does, which costs nothing.

In gunicorn's own threaded worker, a connection occupies a thread from before its first byte, and the loop stops for up
to two seconds if a client does not close its connection. A few dozen connections that send a byte now and then would
lock all other clients out. Here:

- A request gets a thread once its head has arrived, and all of its body or the first 64 KiB of it. If that takes longer
  than CLIENT_TIMEOUT_SECONDS, the response is 408. The loop also answers `Expect: 100-continue`.
- A thread reads the rest of the body as it arrives. The body may pause for CLIENT_TIMEOUT_SECONDS. Once the thread has
  waited that long in total, the body must have brought 8 KiB for each further second, or the connection counts as
  broken.
- After the last response, the loop gives the client two seconds to read it and close the connection.

One address can still hold as many connections as gunicorn's `worker_connections` allows; a proxy can limit them.
"""

from __future__ import annotations

import errno
import re
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from socket import SHUT_WR, socket
from typing import Any

from gunicorn import http
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from uvr.api.server.malformed_requests import error_response, status_of

SMALL_BODY_BYTES = 64 * 2**10

_MAX_HEAD_BYTES = 64 * 2**10  # gunicorn's own limit is lower, and its response says what is too long
_MIN_BYTES_PER_S = 8 * 2**10
_LINGER_S = 2.0
_READ_BYTES = 2**16
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[0-9a-f]+(?=[ \t;\r])", re.IGNORECASE)
_EXPECT_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMEOUT = error_response(HTTPStatus.REQUEST_TIMEOUT)


class IncomingRequest:
    """The bytes of a request that have arrived, until there are enough of them to give it a thread."""

    def __init__(self, data: bytes, deadline: float) -> None:
        self.deadline = deadline
        self._data = bytearray(data)
        self._required_bytes = 0  # of head and body, once the head has arrived
        self._chunk_start = 0  # of the next chunk, if the body is chunked

    @property
    def data(self) -> bytes:
        """Everything that has arrived."""
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Append bytes that have arrived."""
        self._data += data

    def take_expect_continue(self) -> bool:
        """Whether the client waits for a 100 (Continue). Removes the header, so that it is not answered twice."""
        if self._required_bytes or not (head_bytes := self._head_bytes()):
            return False
        if found := _EXPECT_CONTINUE.search(self._data, 0, head_bytes):
            del self._data[slice(*found.span())]
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


class SlowClientUnreader(SocketUnreader):
    """Reads the rest of a body for a thread, and gives up if the client is too slow."""

    def __init__(self, sock: socket, max_pause_s: float) -> None:
        super().__init__(sock)
        self._max_pause_s = max_pause_s
        self.begin(b"")

    def begin(self, data: bytes) -> None:
        """Begin a request, of which `data` has already arrived."""
        self.unread(data)
        self._is_over = False
        self._waited_s = 0.0
        self._received_bytes = 0

    def end(self) -> None:
        """Do not wait for further bytes: the request has its response."""
        self._is_over = True

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises `ConnectionResetError` if they arrive too slowly or not at all."""
        previous_timeout_s = self.sock.gettimeout()
        started = time.monotonic()
        timeout_s = min(previous_timeout_s or self._max_pause_s, self._max_pause_s)
        self.sock.settimeout(0 if self._is_over else timeout_s)
        try:
            data: bytes = super().chunk(size_hint)  # type: ignore[call-arg]  # gunicorn's type stubs are older
        except (TimeoutError, BlockingIOError):
            raise _too_slow() from None
        finally:
            self.sock.settimeout(previous_timeout_s)
        self._waited_s += time.monotonic() - started
        self._received_bytes += len(data)
        if self._received_bytes < (self._waited_s - self._max_pause_s) * _MIN_BYTES_PER_S:
            raise _too_slow()
        return data


class SlowClientWorker(ThreadWorker):
    """Gunicorn's threaded worker, changed as described above. `slow_client_worker` sets another timeout."""

    client_timeout_s = 15.0

    def init_process(self) -> None:
        """Run the worker. Gunicorn calls this in the worker's process; it returns when the worker stops."""
        self._incoming: dict[TConn, IncomingRequest] = {}  # in the order of their deadlines
        self._lingering: dict[TConn, float] = {}
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        """Wait in the loop for the first or the next request of a connection."""
        if self.cfg.is_ssl or conn.is_http2:
            super().enqueue_req(conn)
            return
        deadline = time.monotonic() + self.client_timeout_s
        self._incoming[conn] = IncomingRequest(self._unreader(conn).take_buffered(), deadline)
        self._watch(conn, self.on_request_data)
        self._start_if_ready(conn)

    def finish_request(self, conn: TConn, fs: Future[bool]) -> None:
        """Close a connection without blocking, once its last response is sent: if the result of `fs` is False."""
        if fs.cancelled() or fs.exception() or fs.result() is not False:
            super().finish_request(conn, fs)
            return
        try:
            self._watch(conn, self.on_lingering_data)
            conn.sock.shutdown(SHUT_WR)
        except OSError:
            self._drop(conn)
        else:
            self._lingering[conn] = time.monotonic() + _LINGER_S

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Whether another request may follow: not if the rest of an unread body would have to be waited for."""
        if not keepalive:
            return False
        # Without a deadline: a thread that is not scheduled for a moment would close a connection that is complete.
        self._unreader(conn).end()
        parser: Any = conn.parser
        return bool(parser.finish_body(max_bytes=SMALL_BODY_BYTES + 1))

    def handle_error(self, _request: Any, client: socket, address: Any, error: BaseException) -> None:
        """Respond to a malformed request, or to an error outside of the application."""
        status = status_of(error)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("A request could not be handled", exc_info=error)
        else:
            self.log.warning("Invalid request from %s: %s", address[0], error)
        with suppress(OSError):
            client.sendall(error_response(status))

    def murder_pending(self) -> None:
        """Drop connections that are past their deadline. Gunicorn calls this at least once a second."""
        super().murder_pending()
        now = time.monotonic()
        # A worker that stops still waits for requests that have begun, but not for clients that have sent nothing.
        overdue = [conn for conn, it in self._incoming.items() if it.deadline <= now or not (self.alive or it.data)]
        for conn in overdue:
            with suppress(OSError):
                conn.sock.send(_TIMEOUT if self._incoming[conn].data else b"")
            self._drop(conn)
        for conn in [conn for conn, deadline in self._lingering.items() if deadline <= now]:
            self._drop(conn)

    def on_request_data(self, conn: TConn, _sock: socket) -> None:
        """Take the next bytes of a request, or drop a connection that the client has closed."""
        if data := _received(conn.sock):
            self._incoming[conn].add(data)
            self._start_if_ready(conn)
        elif data is not None:
            self._drop(conn)

    def on_lingering_data(self, conn: TConn, _sock: socket) -> None:
        """Ignore what still arrives after the last response, until the client closes the connection."""
        if _received(conn.sock) == b"":
            self._drop(conn)

    def _start_if_ready(self, conn: TConn) -> None:
        """Give the request a thread if enough of it has arrived."""
        request = self._incoming[conn]
        if request.take_expect_continue():
            with suppress(OSError):
                conn.sock.send(_CONTINUE)
        if not request.is_ready():
            return
        del self._incoming[conn]
        self.poller.unregister(conn.sock)
        self._unreader(conn).begin(request.data)
        conn.data_ready = True
        super().enqueue_req(conn)

    def _unreader(self, conn: TConn) -> SlowClientUnreader:
        """The connection's unreader, with a parser for it if there is none yet."""
        parser: Any = conn.parser
        if parser is None:
            parser = conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
            parser.unreader = SlowClientUnreader(conn.sock, self.client_timeout_s)
        unreader: SlowClientUnreader = parser.unreader
        return unreader

    def _watch(self, conn: TConn, on_readable: Any) -> None:
        """Let the loop call `on_readable` whenever bytes have arrived."""
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, EVENT_READ, partial(on_readable, conn))

    def _drop(self, conn: TConn) -> None:
        """Close the connection and forget it."""
        self._incoming.pop(conn, None)
        self._lingering.pop(conn, None)
        with suppress(KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def slow_client_worker(client_timeout_s: float) -> type[SlowClientWorker]:
    """A worker class with this timeout. Gunicorn takes a class because it creates its workers itself."""
    return type("SlowClientWorker", (SlowClientWorker,), {"client_timeout_s": client_timeout_s})


def _received(sock: socket) -> bytes | None:
    """The bytes that have arrived, b"" if the client has closed the connection, None if there is nothing yet."""
    try:
        return sock.recv(_READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _too_slow() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the client sends too slowly")
