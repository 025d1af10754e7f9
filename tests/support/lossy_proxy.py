"""A unix socket in front of a real Redis that can lose an answer: the server has acted, but the client cannot know."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.threads import in_thread


class LossyProxy(socketserver.ThreadingUnixStreamServer):
    """Forwards everything in both directions; after `lose_next_answer` it closes one connection instead."""

    daemon_threads = False

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(str(path), _Relay)
        self.path = path
        self.target = target
        self._losing = threading.Event()

    def lose_next_answer(self) -> None:
        """Close the connection in place of the server's next answer."""
        self._losing.set()

    def loses(self) -> bool:
        """Whether this answer is to be lost."""
        loses = self._losing.is_set()
        self._losing.clear()
        return loses


class _Relay(socketserver.BaseRequestHandler):
    server: Any

    def handle(self) -> None:
        client = self.request
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.server.target))
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data or (source is server and self.server.loses()):
                        return
                    (server if source is client else client).sendall(data)


@contextmanager
def lossy_proxy(folder: Path, target: Path) -> Iterator[LossyProxy]:
    """A running proxy; close the clients' connections before the block ends."""
    with (
        LossyProxy(folder / "lossy.sock", target) as proxy,
        in_thread(partial(proxy.serve_forever, poll_interval=0.05), proxy.shutdown, name="lossy-proxy"),
    ):
        yield proxy
