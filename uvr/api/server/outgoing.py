"""What clients have yet to take, and the thread that sends it.

The threads that answer requests never wait for a client. They put a response into the connection's `Outbox`; what the
kernel does not take at once is left to the `Sender`, a single thread that serves all clients in turn. It is not the
thread of the event loop, so a disk that hangs stops downloads and nothing else.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from functools import partial
from itertools import islice, takewhile
from selectors import EVENT_WRITE
from socket import SHUT_RDWR, socket
from struct import calcsize, unpack
from termios import TIOCOUTQ
from typing import Any

from uvr.api.server.event_loop import EventLoop
from uvr.api.server.limits import ClientLimits

_MAX_TURN_BYTES = 512 * 2**10
"""How much one client gets before it is another one's turn."""
_MAX_PIECES = 64
"""How many pieces one system call sends; the kernel's limit is 1024."""
_STOP_CHECK_S = 1.0


@dataclass
class FilePiece:
    """A part of an open file."""

    file_descriptor: int
    offset: int
    count: int


class Outbox:
    """What a client has yet to take of a response, in the order in which it is sent.

    Gunicorn's `Response` uses it as its socket. It belongs to one thread at a time, which may put into it and flush it;
    only `waited` may be called by another.
    """

    def __init__(self, sock: socket, limits: ClientLimits) -> None:
        self.sock = sock
        self._limits = limits
        self._pieces: deque[memoryview | FilePiece] = deque()
        self._sent_bytes = self._taken_bytes = 0
        self.begin()

    def begin(self) -> None:
        """Begin a response."""
        self._pace = self._limits.taking_pace()

    def fileno(self) -> int:
        """The socket's file descriptor, which tells whether the client is still there."""
        return self.sock.fileno()

    def sendall(self, data: bytes) -> None:
        """Put `data` into the box."""
        if data:
            self._pieces.append(memoryview(data))

    def sendfile(self, file: Any, offset: int, count: int) -> None:
        """Put a part of `file` into the box, which may be closed afterwards."""
        if count:
            self._pieces.append(FilePiece(os.dup(file.fileno()), offset, count))

    @property
    def is_empty(self) -> bool:
        """Whether the kernel has everything."""
        return not self._pieces

    @property
    def held_bytes(self) -> int:
        """How much memory the box holds."""
        return sum(piece.nbytes for piece in tuple(self._pieces) if isinstance(piece, memoryview))

    def flush(self) -> bool:
        """Give the kernel what it takes at once, at most 512 KiB. Returns whether the box is empty now.

        Raises `OSError` if the connection is broken.
        """
        left_bytes = _MAX_TURN_BYTES
        with suppress(BlockingIOError):
            while self._pieces and left_bytes > 0:
                sent_bytes = self._send(left_bytes)
                self._sent_bytes += sent_bytes
                left_bytes -= sent_bytes
        return self.is_empty

    def _send(self, max_bytes: int) -> int:
        first = self._pieces[0]
        if isinstance(first, FilePiece):
            sent_bytes = os.sendfile(self.fileno(), first.file_descriptor, first.offset, min(first.count, max_bytes))
            if not sent_bytes:
                raise OSError("the file has become shorter while it was sent")
            first.offset += sent_bytes
            first.count -= sent_bytes
            if not first.count:
                os.close(first.file_descriptor)
                self._pieces.popleft()
            return sent_bytes
        texts: Any = list(islice(takewhile(lambda piece: isinstance(piece, memoryview), self._pieces), _MAX_PIECES))
        sent_bytes = left_bytes = self.sock.sendmsg(texts)
        for text in texts:
            if left_bytes < text.nbytes:
                self._pieces[0] = text[left_bytes:]
                break
            self._pieces.popleft()
            left_bytes -= text.nbytes
        return sent_bytes

    def waited(self, seconds: float) -> bool:
        """Count `seconds`, the time since the last call. Returns whether the client takes its response too slowly.

        The kernel accepts bytes ahead, so what counts is what the client has acknowledged. A client that has everything
        that was sent waits for the service, whose disk may be slow.
        """
        unacknowledged_bytes = self._unacknowledged_bytes()
        taken_bytes = self._sent_bytes - unacknowledged_bytes
        moved_bytes, self._taken_bytes = taken_bytes - self._taken_bytes, taken_bytes
        if unacknowledged_bytes and (self._pieces or not moved_bytes):
            self._pace.waited(seconds, moved_bytes)
        else:
            self._pace.resumed()
        return self._pace.is_too_slow

    def _unacknowledged_bytes(self) -> int:
        """How much of what was sent has not reached the client. Where the system does not tell, 1 until all is sent."""
        with suppress(OSError):
            return int(unpack("i", ioctl(self.sock, TIOCOUTQ, bytes(calcsize("i"))))[0])
        return 1 if self._pieces else 0

    def break_off(self) -> None:
        """Let the connection fail for the thread that uses it."""
        with suppress(OSError):
            self.sock.shutdown(SHUT_RDWR)

    def discard(self) -> None:
        """Drop what is left."""
        while self._pieces:
            piece = self._pieces.popleft()
            if isinstance(piece, FilePiece):
                os.close(piece.file_descriptor)


class Sender:
    """The thread that sends what clients do not take at once."""

    def __init__(self) -> None:
        self._loop = EventLoop()
        self._is_running = True
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def send(self, outbox: Outbox, then: Callable[[bool], object]) -> None:
        """Send everything in `outbox`, then call `then` with whether it was possible, in the sender's thread."""
        callback = partial(self._flush, outbox, then)
        self._loop.call_soon(lambda: self._loop.watch(outbox.sock, EVENT_WRITE, callback))

    def stop(self) -> None:
        """End the thread; what it has not sent stays where it is."""
        self._is_running = False
        self._loop.call_soon(lambda: None)

    def _run(self) -> None:
        while self._is_running:
            self._loop.turn(_STOP_CHECK_S)

    def _flush(self, outbox: Outbox, then: Callable[[bool], object]) -> None:
        try:
            if not outbox.flush():
                return
        except OSError:
            is_sent = False
        else:
            is_sent = True
        self._loop.forget(outbox.sock)
        then(is_sent)
