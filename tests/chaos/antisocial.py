"""A user with valid credentials who does what stops a service for the others: slow lines, more than a fair share.

All at the same time, from an address of its own:

- connections that ask for a page or a stem and hardly read the answer,
- uploads that send a few kilobytes a second,
- songs on hosts that send a byte now and then,
- more songs than the service can separate, whose webhooks go to ports that never answer.

What is refused or ended is begun again, as long as the run lasts.
"""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_server import Answer, HttpServer
from tests.support.threads import in_thread

ADDRESS = "127.0.0.66"
"""The address that the attacks come from. Nobody else has it."""

_UNREAD_PAGES = 60
_SLOW_DOWNLOADS = 20
_SLOW_UPLOADS = 24
_DRIPPING_SONGS = 4
_SONGS_AT_ONCE = 120
_HANGING_PORTS = 30

_DOWNLOAD_BYTES_PER_S = 20_000
_UPLOAD_BYTES_PER_S = 9_000
_UPLOAD_BYTES = 400 * 2**20
_PAUSE_S = 0.5
_RECEIVE_BUFFER_BYTES = 2_048
_SEGMENT_BYTES = 1_000
"""As small as on a real line: on loopback the buffers of the server would take a whole page at once."""
_PIPELINED_PAGES = 20
_BOUNDARY = "antisocial"


@dataclass
class AntisocialUser:
    """Attacks the service at `url` with these credentials. `stem_url` is a link to a stem, `song` a short WAV file."""

    url: str
    credentials: tuple[str, str]
    stem_url: str
    song: bytes
    host: HttpServer
    counts: Counter[str] = field(default_factory=Counter)
    """How often each attack was begun, and which answers came."""

    @contextmanager
    def attacking(self) -> Iterator[None]:
        """Attack while the block runs."""
        loop = asyncio.new_event_loop()
        stopped = asyncio.Event()
        stop = partial(loop.call_soon_threadsafe, stopped.set)
        with in_thread(partial(loop.run_until_complete, self._attack(stopped)), stop, name="antisocial"):
            yield
        loop.close()

    async def _attack(self, stopped: asyncio.Event) -> None:
        hooks = [stop_answering() for _ in range(_HANGING_PORTS)]
        attacks = [partial(self._ask_and_read_slowly, "/docs", 0) for _ in range(_UNREAD_PAGES)]
        stem_path = urlsplit(self.stem_url)._replace(scheme="", netloc="").geturl()
        attacks += [
            partial(self._ask_and_read_slowly, stem_path, _DOWNLOAD_BYTES_PER_S) for _ in range(_SLOW_DOWNLOADS)
        ]
        attacks += [self._upload_slowly for _ in range(_SLOW_UPLOADS)]
        attacks += [partial(self._submit_dripping_song, number) for number in range(_DRIPPING_SONGS)]
        attacks += [partial(self._submit_song, hooks[n % _HANGING_PORTS]) for n in range(_SONGS_AT_ONCE)]
        running = [asyncio.create_task(self._repeat(attack)) for attack in attacks]
        await stopped.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for hook in hooks:
            hook.close()

    async def _repeat(self, attack: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await attack()
            await asyncio.sleep(_PAUSE_S)

    async def _ask_and_read_slowly(self, path: str, bytes_per_s: int) -> None:
        """GET `path`, and read so many bytes a second of the answer."""
        async with self._connection(_RECEIVE_BUFFER_BYTES) as sock:
            self.counts["slow reader"] += 1
            request = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
            await self._send(sock, request * (1 if bytes_per_s else _PIPELINED_PAGES))
            while await self._received(sock, bytes_per_s // 10) if bytes_per_s else not await self._is_reset(sock):
                await asyncio.sleep(0.1)

    async def _upload_slowly(self) -> None:
        """POST a song of hundreds of megabytes, a few kilobytes a second, until the service ends that."""
        async with self._connection() as sock:
            self.counts["slow upload"] += 1
            await self._send(sock, self._head(f"multipart/form-data; boundary={_BOUNDARY}", _UPLOAD_BYTES))
            await self._send(sock, _form_head())
            while not await self._is_answered(sock):
                await self._send(sock, bytes(_UPLOAD_BYTES_PER_S // 10))
                await asyncio.sleep(0.1)

    async def _submit_dripping_song(self, number: int) -> None:
        """POST the URL of a song that never arrives."""
        self.counts["dripping song"] += 1
        song = self.host.answer(f"/drip-{number}.wav", Answer(body=self.song, length=2**20, drip_s=10))
        await self._post("application/json", f'{{"audio": "{song}", "priority": 3}}'.encode())
        await asyncio.sleep(10)

    async def _submit_song(self, hook: socket.socket) -> None:
        """POST a short song whose webhook goes to a port that never answers."""
        self.counts["song"] += 1
        hook_url = f"http://127.0.0.1:{hook.getsockname()[1]}/hook"
        fields = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="hook_url"\r\n\r\n{hook_url}\r\n'
        body = fields.encode() + _form_head() + self.song + f"\r\n--{_BOUNDARY}--\r\n".encode()
        await self._post(f"multipart/form-data; boundary={_BOUNDARY}", body)
        await asyncio.sleep(10)

    async def _post(self, content_type: str, body: bytes) -> None:
        async with self._connection() as sock:
            await self._send(sock, self._head(content_type, len(body)) + body)
            status = (await self._receive(sock, 2**16)).partition(b" ")[2][:3].decode()
            self.counts[f"answer {status or 'missing'}"] += 1

    def _head(self, content_type: str, length: int) -> bytes:
        credentials = b64encode(":".join(self.credentials).encode()).decode()
        return (
            f"POST /generate HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Basic {credentials}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    @property
    def _host(self) -> str:
        return urlsplit(self.url).netloc

    @asynccontextmanager
    async def _connection(self, receive_buffer_bytes: int = 0) -> AsyncIterator[socket.socket]:
        with socket.socket() as sock:
            if receive_buffer_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
            sock.setblocking(False)
            sock.bind((ADDRESS, 0))
            parts = urlsplit(self.url)
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
            yield sock

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, data)

    async def _receive(self, sock: socket.socket, max_bytes: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(sock, max_bytes)

    async def _received(self, sock: socket.socket, max_bytes: int) -> bool:
        return bool(await self._receive(sock, max_bytes))

    async def _is_answered(self, sock: socket.socket) -> bool:
        """Whether the service has answered, or closed the connection."""
        try:
            answer = sock.recv(2**16)
        except BlockingIOError:
            return False
        self.counts[f"upload answered {answer.partition(b' ')[2][:3].decode() or 'by a close'}"] += 1
        return True

    async def _is_reset(self, sock: socket.socket) -> bool:
        """Whether the service has given the connection up, without reading from it."""
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def stop_answering() -> socket.socket:
    """A port of this machine that takes connections and never answers: the kernel accepts, and no program reads."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _form_head() -> bytes:
    disposition = 'Content-Disposition: form-data; name="audio"; filename="song.wav"'
    return f"--{_BOUNDARY}\r\n{disposition}\r\nContent-Type: audio/wav\r\n\r\n".encode()
