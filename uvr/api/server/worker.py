"""A gunicorn worker whose threads never wait for a client, except for the body of an upload.

In gunicorn's own threaded worker, a connection occupies a thread from before its first byte until its last one is sent.
A few dozen clients that send or read a byte now and then would lock out all others. Here:

- The event loop collects a request: its head, and all of its body or the first 64 KiB of it. If that takes longer than
  CLIENT_TIMEOUT_SECONDS, the response is 408. The loop also answers `Expect: 100-continue`.
- A thread then answers the request. It reads the rest of a body as it arrives; 408 if that is too slow.
- What the client does not take of the response at once is left to the sender. The client may pause for
  CLIENT_TIMEOUT_SECONDS, and has to take 8 KiB per second.
- After the last response, the loop gives the client two seconds to read it and close the connection.
- Streams of events leave their threads while there is nothing to send; one thread goes on with all of them.
- GET /health and GET /ready have threads of their own, so they are answered while all others are busy.
- An address may have MAX_CONNECTIONS_PER_ADDRESS requests at a time, and as many streams. Further ones are refused with
  429. Connections on which nothing happens are closed, the oldest first, if an address or the process has too many.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from operator import itemgetter
from selectors import EVENT_READ
from socket import SHUT_WR, socket
from types import FrameType

import structlog
from gunicorn.workers.base import Worker

from uvr.api.server.connections import Connection, Connections, State
from uvr.api.server.event_loop import EventLoop
from uvr.api.server.exchange import Exchange
from uvr.api.server.incoming import IncomingRequest
from uvr.api.server.limits import ClientLimits
from uvr.api.server.malformed_requests import error_response
from uvr.api.server.outgoing import Sender
from uvr.api.server.streams import StreamThread

log = structlog.get_logger()

_PROBE_THREADS = 2
_SPARE_CONNECTIONS = 16
"""Connections beyond its maximum that an address may have, on which it gets the refusal, or probes the service."""
_MAX_HELD_BYTES = 64 * 2**20
"""What all responses that wait for their clients may hold in memory."""
_TICK_S = 1.0
_LINGER_S = 2.0
_READ_BYTES = 2**16
_OTHER_FILES = 128
"""Open files of a process besides its connections and the files that they download."""
_RETRY_AFTER_S = 5
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMEOUT = error_response(HTTPStatus.REQUEST_TIMEOUT)
_TOO_MANY = error_response(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=_RETRY_AFTER_S)


class PatientWorker(Worker):
    """One process of the API. `patient_worker` sets the limits."""

    limits: ClientLimits

    def init_process(self) -> None:
        """Run the worker. Gunicorn calls this in the worker's process; it returns when the worker stops."""
        self._loop = EventLoop()
        self._sender = Sender()
        self._streams = StreamThread()
        self._threads = ThreadPoolExecutor(self.cfg.threads, "request")
        self._probe_threads = ThreadPoolExecutor(_PROBE_THREADS, "probe")
        self._connections = Connections()
        self._is_accepting = False
        self._may_accept_at = self._ticked_at = time.monotonic()
        self._refusals: Counter[str] = Counter()  # by address, since the last tick
        open_files = _allow_open_files(2 * self.cfg.worker_connections + _OTHER_FILES)
        self.max_connections = min(self.cfg.worker_connections, max(2, open_files - _OTHER_FILES) // 2)
        super().init_process()

    def run(self) -> None:
        """Serve until gunicorn's master stops the worker or is gone, and then finish what has begun."""
        while self.alive and self.ppid == os.getppid():
            self._accept_connections(self._has_room())
            self._turn()
        self.alive = False  # also if the master is gone: event streams end, and connections are not kept
        self._accept_connections(False)
        for listener in self.sockets:
            listener.close()  # so that the next start finds the port free, even if requests still take a while here
        self._expect_no_more_requests()
        self._streams.hurry()
        stops_at = time.monotonic() + self.cfg.graceful_timeout
        while len(self._connections) and time.monotonic() < stops_at:
            self._turn()
        self._threads.shutdown(wait=False)
        self._probe_threads.shutdown(wait=False)
        self._streams.stop()
        self._sender.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully. Gunicorn calls this at SIGTERM."""
        super().handle_exit(sig, frame)
        if self.booted:
            self._loop.call_soon(lambda: None)  # which ends the present turn

    def may_keep_alive(self) -> bool:
        """Count a request that begins. Returns whether its connection may stay open."""
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        return self.alive and self.cfg.keepalive > 0

    def _turn(self) -> None:
        """Do what is due, for at most a second."""
        self.notify()
        self._loop.turn(_TICK_S)
        now = time.monotonic()
        if now - self._ticked_at >= _TICK_S:
            self._end_overdue(now, now - self._ticked_at)
            self._break_off_largest_responses()
            self._log_refusals()
            self._ticked_at = now

    # Connections come

    def _accept_connections(self, is_accepting: bool) -> None:
        """Begin or cease to accept connections. Meanwhile the kernel keeps new ones."""
        if is_accepting == self._is_accepting:
            return
        self._is_accepting = is_accepting
        for listener in self.sockets:
            listener.setblocking(False)
            if is_accepting:
                self._loop.watch(listener, EVENT_READ, partial(self._accept, listener))
            else:
                self._loop.forget(listener)

    def _has_room(self) -> bool:
        """Whether the process can take one more connection, if need be instead of an unused one."""
        if time.monotonic() < self._may_accept_at:
            return False
        return len(self._connections) < self.max_connections or self._connections.oldest_unused() is not None

    def _accept(self, listener: socket) -> None:
        """Accept a connection, if need be instead of an unused one of the same address."""
        try:
            sock, peer = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.warning("server.too_many_open_files", error=str(error))
                self._may_accept_at = time.monotonic() + _TICK_S
                self._accept_connections(False)
            return
        connection = Connection(self.cfg, sock, peer, listener.getsockname(), self.limits)
        if self._make_room_for(connection.address):
            self._connections.add(connection)
            self._receive(connection, self.limits.timeout_s)
        else:
            connection.close()

    def _make_room_for(self, address: str) -> bool:
        """Drop the oldest unused connection if the address or the process has too many.

        Returns whether there is room now.
        """
        maximum = self.limits.max_connections
        counted = self._connections.of(address) - self._connections.answering(address, is_stream=True)
        if address and maximum and counted >= maximum + _SPARE_CONNECTIONS:
            unused = self._connections.oldest_unused(address)
        elif len(self._connections) >= self.max_connections:
            unused = self._connections.oldest_unused()
        else:
            return True
        if unused:
            self._drop(unused)
        return unused is not None

    # A request arrives

    def _receive(self, connection: Connection, timeout_s: float) -> None:
        """Wait for the next request of a connection, for at most `timeout_s` until it begins."""
        self._connections.change(connection, State.RECEIVING)
        connection.incoming = IncomingRequest(connection.reader.take_buffered())
        connection.deadline = time.monotonic() + (self.limits.timeout_s if connection.incoming.has_begun else timeout_s)
        self._loop.watch(connection.sock, EVENT_READ, partial(self._on_request_data, connection))
        self._answer_if_ready(connection)

    def _on_request_data(self, connection: Connection) -> None:
        """Take the next bytes of a request, or drop a connection that the client has closed."""
        data = _received(connection.sock)
        if data:
            if not connection.incoming.has_begun:
                connection.deadline = time.monotonic() + self.limits.timeout_s
            connection.incoming.add(data)
            self._answer_if_ready(connection)
        elif data is not None:
            self._drop(connection)

    def _answer_if_ready(self, connection: Connection) -> None:
        """Give the request to a thread if enough of it has arrived."""
        request = connection.incoming
        if request.take_expect_continue():
            with suppress(OSError):
                connection.sock.send(_CONTINUE)
        if not request.is_ready():
            return
        self._loop.forget(connection.sock)
        connection.is_stream = request.is_stream
        if not request.is_probe and self._has_too_many_requests(connection):
            self._refuse(connection)
            return
        self._connections.change(connection, State.ANSWERING)
        connection.reader.begin(request.data, has_head=request.has_head)
        connection.outbox.begin()
        connection.threads = self._probe_threads if request.is_probe else self._threads
        connection.threads.submit(self._advance, connection, Exchange(self, connection))

    def _has_too_many_requests(self, connection: Connection) -> bool:
        maximum, address = self.limits.max_connections, connection.address
        if not (address and maximum):
            return False
        return self._connections.answering(address, is_stream=connection.is_stream) >= maximum

    def _refuse(self, connection: Connection) -> None:
        """Tell the client, without a thread, that its address has too many requests already."""
        self._refusals[connection.address] += 1
        with suppress(OSError):
            connection.sock.send(_TOO_MANY)
        self._linger(connection)

    # The response leaves

    def _advance(self, connection: Connection, exchange: Exchange) -> None:
        """Go on with an exchange, in a thread."""

        def proceed(is_sent: bool) -> None:
            self._loop.call_soon(partial(self._proceed, connection, exchange, is_sent))

        try:
            exchange.advance()
        finally:
            if not connection.outbox.is_empty:
                self._sender.send(connection.outbox, proceed)
            elif exchange.pause_s is None or exchange.is_over:
                proceed(True)
            else:
                self._pause(connection, exchange, exchange.pause_s)

    def _proceed(self, connection: Connection, exchange: Exchange, is_sent: bool) -> None:
        """Go on once the client has taken what was written, or the connection is broken."""
        if not is_sent:
            connection.threads.submit(exchange.abort)
            self._drop(connection)
        elif exchange.pause_s is not None and not exchange.is_over:
            self._pause(connection, exchange, exchange.pause_s)
        elif not exchange.is_over:
            connection.threads.submit(self._advance, connection, exchange)
        elif exchange.keeps_connection and self.alive:
            self._receive(connection, self.cfg.keepalive)
        else:
            self._linger(connection)

    def _pause(self, connection: Connection, exchange: Exchange, pause_s: float) -> None:
        """Go on with an exchange in the thread of the streams, when its pause is over. Called in any thread."""
        connection.threads = self._streams
        self._streams.submit_later(pause_s, self._advance, connection, exchange)

    def _linger(self, connection: Connection) -> None:
        """Let the client read its last response and close the connection."""
        self._connections.change(connection, State.LINGERING)
        connection.deadline = time.monotonic() + _LINGER_S
        try:
            connection.sock.shutdown(SHUT_WR)
        except OSError:
            self._drop(connection)
        else:
            self._loop.watch(connection.sock, EVENT_READ, partial(self._on_lingering_data, connection))

    def _on_lingering_data(self, connection: Connection) -> None:
        """Ignore what still arrives after the last response, until the client closes the connection."""
        if _received(connection.sock) == b"":
            self._drop(connection)

    # Connections go

    def _end_overdue(self, now: float, waited_s: float) -> None:
        """End the connections of clients that were too slow."""
        for connection in self._connections:
            if connection.state is State.ANSWERING:
                if connection.outbox.waited(waited_s):
                    connection.outbox.break_off()
            elif connection.deadline <= now:
                if connection.state is State.RECEIVING and connection.incoming.has_begun:
                    with suppress(OSError):
                        connection.sock.send(_TIMEOUT)
                self._drop(connection)

    def _break_off_largest_responses(self) -> None:
        """Free memory if too much of it waits for clients."""
        held = [(it.outbox.held_bytes, it) for it in self._connections if it.state is State.ANSWERING]
        held_bytes = sum(size_bytes for size_bytes, _ in held)
        for size_bytes, connection in sorted(held, key=itemgetter(0), reverse=True):
            if held_bytes <= _MAX_HELD_BYTES:
                return
            held_bytes -= size_bytes
            connection.outbox.break_off()

    def _expect_no_more_requests(self) -> None:
        """Wait only briefly for clients that have sent nothing; some may be sending a request at this moment."""
        for connection in self._connections:
            if connection.state is State.RECEIVING and not connection.incoming.has_begun:
                connection.deadline = min(connection.deadline, time.monotonic() + _LINGER_S)

    def _log_refusals(self) -> None:
        """Log one line for each address, however often it was refused."""
        for address, refusals in self._refusals.items():
            log.warning("server.address_refused", address=address, refusals=refusals)
        self._refusals.clear()

    def _drop(self, connection: Connection) -> None:
        """Close the connection and forget it."""
        if connection in self._connections:
            self._loop.forget(connection.sock)
            self._connections.remove(connection)
            connection.close()


def patient_worker(limits: ClientLimits) -> type[PatientWorker]:
    """A worker class with these limits. Gunicorn takes a class because it creates its workers itself."""
    return type("PatientWorker", (PatientWorker,), {"limits": limits})


def _allow_open_files(count: int) -> int:
    """Let this process open `count` files, or fewer if the system's hard limit is lower. Returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def _received(sock: socket) -> bytes | None:
    """The bytes that have arrived, b"" if the client has closed the connection, None if there is nothing yet."""
    try:
        return sock.recv(_READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
