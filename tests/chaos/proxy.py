"""TCP proxies between the parts of a stack, which break or delay connections on command, all in one thread.

with network() as proxies:
    link = proxies.open(redis_port)   # link.port now leads there
    link.cut(reset=True)              # every connection is reset (RST)
    link.refuse(2)                    # connections are refused for two seconds
    link.delay(2)                     # everything arrives later for two seconds
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.threads import in_thread

_BLOCK_BYTES = 65536
_DELAY_S = 0.15
_RESET = struct.pack("ii", 1, 0)  # linger for no time: unsent data is dropped and the peer gets RST


class Link:
    """One proxy in front of a loopback port, which delays every block by `latency_s`; `network` makes them.

    All methods can be called from any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target_port: int, latency_s: float) -> None:
        self._loop = loop
        self._target_port = target_port
        self.latency_s = latency_s
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._delayed_until = 0.0
        self.port = 0

    def url(self, path: str) -> str:
        """The address of `path` on the HTTP server behind this link."""
        return f"http://127.0.0.1:{self.port}{path}"

    def cut(self, *, reset: bool = False) -> None:
        """Close all current connections, with `reset` by RST."""
        _run(self._loop, self._cut(reset))

    def refuse(self, seconds: float) -> None:
        """Close all connections and refuse new ones for a while."""
        _run(self._loop, self.close())
        self._loop.call_soon_threadsafe(self._loop.create_task, self._listen_again(seconds))

    def delay(self, seconds: float) -> None:
        """Delay everything for a while, in both directions."""
        self._delayed_until = time.monotonic() + seconds

    async def listen(self) -> None:
        """Listen on the same port as before, at first on a free one."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server:
            self._server.close()
        self._server = None
        await self._cut(reset=False)

    async def _listen_again(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self._server is None:
            # An outgoing connection of this machine may have taken the port meanwhile.
            with suppress(OSError):
                await self.listen()
            await asyncio.sleep(0.05)

    async def _cut(self, reset: bool) -> None:
        for writer in list(self._writers):
            if reset and (connection := writer.get_extra_info("socket")):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            self._drop(writer)
            return
        self._writers.add(onward)
        await asyncio.gather(self._pump(reader, onward), self._pump(onward_reader, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await source.read(_BLOCK_BYTES):
                await asyncio.sleep(_DELAY_S if time.monotonic() < self._delayed_until else self.latency_s)
                sink.write(block)
                await sink.drain()
        self._drop(sink)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        with suppress(OSError):
            writer.close()


class Network:
    """The thread in which all links run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: list[Link] = []

    def open(self, target_port: int, *, latency_s: float = 0) -> Link:
        """A link to a loopback port, on a free port of its own."""
        link = Link(self._loop, target_port, latency_s)
        _run(self._loop, link.listen())
        self._links.append(link)
        return link

    def run(self) -> None:
        """Forward data until closed."""
        self._loop.run_forever()
        self._loop.close()

    def close(self) -> None:
        """Close all links."""
        _run(self._loop, self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close(self) -> None:
        for link in self._links:
            await link.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _run(loop: asyncio.AbstractEventLoop, step: Coroutine[Any, Any, None]) -> None:
    asyncio.run_coroutine_threadsafe(step, loop).result()


@contextmanager
def network() -> Iterator[Network]:
    """A running network; all its links are closed at the end of the block."""
    proxies = Network()
    with in_thread(proxies.run, proxies.close, name="proxies"):
        yield proxies
