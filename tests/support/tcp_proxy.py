"""A TCP proxy on a free port in front of a real server, which can stall and reset connections.

with tcp_proxy(server.port) as proxy:
    proxy.reset_after(2**20)  # every connection breaks after that many bytes from the client
    proxy.stall(2)            # the next two connections are accepted and then ignored
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.threads import in_thread

_BLOCK_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)  # linger for no time: unsent data is dropped and the peer gets RST


class TcpProxy:
    """See the module's docstring."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._to_stall = 0
        self._reset_after: int | None = None
        self.stalled = 0
        self.resets = 0
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stall(self, connections: int) -> None:
        """Let the next `connections` hang until `release`."""
        self._released.clear()
        self._to_stall = connections

    def release(self) -> None:
        """Let all connections continue."""
        self._to_stall = 0
        self._released.set()

    def reset_after(self, sent_bytes: int | None) -> None:
        """Reset each connection once its client has sent this much; None resets none."""
        self._reset_after = sent_bytes

    def serve(self) -> None:
        """Accept connections until closed."""
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._start(self._connect, client)

    def close(self) -> None:
        """End all connections and threads."""
        self.release()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for connection in self._sockets:
                _shut(connection)
        for thread in list(self._threads):
            thread.join()
        for connection in self._sockets:
            connection.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="tcp-proxy")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _connect(self, client: socket.socket) -> None:
        self._keep(client)
        with self._lock:
            stalls, self._to_stall = self._to_stall > 0, max(0, self._to_stall - 1)
            self.stalled += stalls
        if stalls:
            self._released.wait()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _shut(client)
            return
        self._keep(server)
        self._start(self._pump, server, client, False)
        self._pump(client, server, True)

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connection)

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK_BYTES):
                sink.sendall(block)
                sent += len(block)
                if from_client and self._reset_after is not None and sent > self._reset_after:
                    self._reset(source)
                    break
        _shut(sink)

    def _reset(self, client: socket.socket) -> None:
        self.resets += 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def tcp_proxy(target_port: int) -> Iterator[TcpProxy]:
    """A running proxy in front of a loopback port."""
    proxy = TcpProxy(target_port)
    with in_thread(proxy.serve, proxy.close, name="tcp-proxy-accept"):
        yield proxy
