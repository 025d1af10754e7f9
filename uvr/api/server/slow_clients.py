"""A gunicorn worker whose threads wait for nobody: whoever is slow is waited for in the worker's loop, which is free.

In gunicorn's own threaded worker a connection holds a thread from before its first byte, and the whole loop stands
still for up to two seconds when a client does not hang up. A few dozen connections that send a byte now and then would
keep everybody else out. Here:

- A request gets a thread when its head is there and all of its body, or 64 KiB of it. What is not there after
  CLIENT_TIMEOUT_SECONDS is answered with 408. Who asks for leave to send a body (Expect) gets it from the loop.
- The rest of a body is read by a thread, as long as it comes: it may pause for as long, and has to bring 8 KiB for each
  second that the thread waits for it, the first ones excepted. What does not counts as a broken connection.
- After the last answer the client is given two seconds to take it and hang up, by the loop and by no thread.

An address can still hold as many connections as gunicorn's `worker_connections` allows; a proxy can count them.
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

from uvr.api.server.malformed_requests import refusal, status_of

SMALL_BODY_BYTES = 64 * 2**10

_MAX_HEAD_BYTES = 64 * 2**10  # gunicorn refuses less than that, with an answer that says why
_MIN_BYTES_PER_S = 8 * 2**10
_GOODBYE_S = 2.0
_READ_BYTES = 2**16
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[0-9a-f]+(?=[ \t;\r])", re.IGNORECASE)
_WAITS_FOR_LEAVE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_LEAVE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_SLOW = refusal(HTTPStatus.REQUEST_TIMEOUT)


class Arrival:
    """What has come of a request, until the loop has enough of it for a thread."""

    def __init__(self, data: bytes, until: float) -> None:
        self.until = until
        self._data = bytearray(data)
        self._wanted_bytes = 0  # of head and body, once the head is there
        self._chunk_at = 0  # where the next chunk begins, if the body comes in chunks

    @property
    def data(self) -> bytes:
        """All that has come."""
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Some more has come."""
        self._data += data

    def asks_for_leave(self) -> bool:
        """Whether the client wants to be told to send its body; true once, and for no other who reads this."""
        if self._wanted_bytes or not (head := self._head_bytes()):
            return False
        if found := _WAITS_FOR_LEAVE.search(self._data, 0, head):
            del self._data[slice(*found.span())]
        return bool(found)

    def is_enough(self) -> bool:
        """Whether no thread that takes up the request would have to wait for the first 64 KiB of its body."""
        if not self._wanted_bytes and (head := self._head_bytes()):
            self._expect_body(head)
        if self._chunk_at and self._has_all_chunks():
            return True
        return len(self._data) >= (self._wanted_bytes or _MAX_HEAD_BYTES)

    def _head_bytes(self) -> int:
        """The length of the head, 0 while it is not there."""
        end = self._data.find(_END_OF_HEAD)
        return end + len(_END_OF_HEAD) if end >= 0 else 0

    def _expect_body(self, head: int) -> None:
        length = _LENGTH.search(self._data, 0, head)
        chunked = _CHUNKED.search(self._data, 0, head)
        body = int(length[1]) if length else SMALL_BODY_BYTES if chunked else 0
        self._wanted_bytes = head + min(body, SMALL_BODY_BYTES)
        self._chunk_at = head if chunked and not length else 0

    def _has_all_chunks(self) -> bool:
        """Whether the last chunk is there (RFC 9112, section 7.1), or something that is none and to be refused."""
        while (end := self._data.find(b"\r\n", self._chunk_at)) >= 0:
            size = _CHUNK_SIZE.match(self._data, self._chunk_at)
            if not size:
                return True
            if not int(size[0], 16):
                return self._data.find(_END_OF_HEAD, end) >= 0
            self._chunk_at = end + int(size[0], 16) + 4
        return False


class SlowClientUnreader(SocketUnreader):
    """Reads for a thread what was not there yet, and gives up on who is too slow."""

    def __init__(self, sock: socket, longest_pause_s: float) -> None:
        super().__init__(sock)
        self._longest_pause_s = longest_pause_s
        self.begin(b"")

    def begin(self, data: bytes) -> None:
        """A request begins, of which `data` is there."""
        self.unread(data)
        self._is_over = False
        self._waited_s = 0.0
        self._came_bytes = 0

    def end(self) -> None:
        """The request has its answer: from here on nothing is waited for."""
        self._is_over = True

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises `ConnectionResetError` when they do not come or come too slowly."""
        before = self.sock.gettimeout()
        began = time.monotonic()
        self.sock.settimeout(0 if self._is_over else min(before or self._longest_pause_s, self._longest_pause_s))
        try:
            data: bytes = super().chunk(size_hint)  # type: ignore[call-arg]  # newer than its types
        except (TimeoutError, BlockingIOError):
            raise _reset() from None
        finally:
            self.sock.settimeout(before)
        self._waited_s += time.monotonic() - began
        self._came_bytes += len(data)
        if self._came_bytes < (self._waited_s - self._longest_pause_s) * _MIN_BYTES_PER_S:
            raise _reset()
        return data


class SlowClientWorker(ThreadWorker):
    """Gunicorn's threaded worker, with the patience described above; `slow_client_worker` gives it another time-out."""

    client_timeout_s = 15.0

    def init_process(self) -> None:
        """What gunicorn runs in each worker; it ends with the worker."""
        self._arriving: dict[TConn, Arrival] = {}  # the first one has waited longest
        self._leaving: dict[TConn, float] = {}
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        """Somebody connected, or may send another request: wait for it here."""
        if self.cfg.is_ssl or conn.is_http2:
            super().enqueue_req(conn)
            return
        self._arriving[conn] = Arrival(self._unreader(conn).take_buffered(), time.monotonic() + self.client_timeout_s)
        self._watch(conn, self._on_arriving)
        self._go_on(conn)

    def finish_request(self, conn: TConn, fs: Future[bool]) -> None:
        """A thread is done with a request; gunicorn closes the connection if False came out."""
        if fs.cancelled() or fs.exception() or fs.result() is not False:
            super().finish_request(conn, fs)
            return
        try:
            self._watch(conn, self._on_leaving)
            conn.sock.shutdown(SHUT_WR)
        except OSError:
            self._drop(conn)
        else:
            self._leaving[conn] = time.monotonic() + _GOODBYE_S

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Whether another request may follow: not where one would have to wait for the rest of a body nobody read."""
        if not keepalive:
            return False
        # No deadline: a thread that gets no turn for a moment would close a connection that has nothing left to read.
        self._unreader(conn).end()
        parser: Any = conn.parser
        return bool(parser.finish_body(max_bytes=SMALL_BODY_BYTES + 1))

    def handle_error(self, _request: Any, client: socket, address: Any, error: BaseException) -> None:
        """Answer what is no request, or what the application did not see."""
        status = status_of(error)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("A request could not be handled", exc_info=error)
        else:
            self.log.warning("Invalid request from %s: %s", address[0], error)
        with suppress(OSError):
            client.sendall(refusal(status))

    def murder_pending(self) -> None:
        """What gunicorn calls at least once a second, to let go of who kept it waiting."""
        super().murder_pending()
        now = time.monotonic()
        # A worker that stops waits for requests, but not for who may never send one.
        late = [conn for conn, it in self._arriving.items() if it.until <= now or not (self.alive or it.data)]
        for conn in late:
            with suppress(OSError):
                conn.sock.send(_TOO_SLOW if self._arriving[conn].data else b"")
            self._drop(conn)
        for conn in [conn for conn, until in self._leaving.items() if until <= now]:
            self._drop(conn)

    def _on_arriving(self, conn: TConn, _sock: socket) -> None:
        if data := _received(conn.sock):
            self._arriving[conn].add(data)
            self._go_on(conn)
        elif data is not None:
            self._drop(conn)

    def _on_leaving(self, conn: TConn, _sock: socket) -> None:
        if _received(conn.sock) == b"":
            self._drop(conn)

    def _go_on(self, conn: TConn) -> None:
        arrival = self._arriving[conn]
        if arrival.asks_for_leave():
            with suppress(OSError):
                conn.sock.send(_LEAVE)
        if not arrival.is_enough():
            return
        del self._arriving[conn]
        self.poller.unregister(conn.sock)
        self._unreader(conn).begin(arrival.data)
        conn.data_ready = True
        super().enqueue_req(conn)

    def _unreader(self, conn: TConn) -> SlowClientUnreader:
        parser: Any = conn.parser
        if parser is None:
            parser = conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
            parser.unreader = SlowClientUnreader(conn.sock, self.client_timeout_s)
        unreader: SlowClientUnreader = parser.unreader
        return unreader

    def _watch(self, conn: TConn, on_readable: Any) -> None:
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, EVENT_READ, partial(on_readable, conn))

    def _drop(self, conn: TConn) -> None:
        self._arriving.pop(conn, None)
        self._leaving.pop(conn, None)
        with suppress(KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def slow_client_worker(client_timeout_s: float) -> type[SlowClientWorker]:
    """The worker class for gunicorn, which makes its workers by itself."""
    return type("SlowClientWorker", (SlowClientWorker,), {"client_timeout_s": client_timeout_s})


def _received(sock: socket) -> bytes | None:
    """What has come, b"" at the end, None when there is nothing."""
    try:
        return sock.recv(_READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the client sends too slowly")
