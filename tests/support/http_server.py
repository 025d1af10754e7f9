"""A real HTTP server on a free port whose answers a test scripts, and which records its requests.

with http_server() as server:
    server.answer("/hook", Answer(503), Answer(204))  # one answer per request, the last one is repeated
    …
    assert server.requests[0].headers["webhook-id"]

It is also an HTTP proxy, whose answers are scripted for the whole URL, or for `song.example:443` in case of CONNECT.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.threads import in_thread


@dataclass(frozen=True)
class Answer:
    """One answer. Content-Length is the body's length, or `length` if that is given; `length=-1` sends none at all.

    The answer begins after `delay_s`. With `drip_s` the body, or with `drip_head` everything, is sent in pieces of
    `piece_bytes`, `drip_s` apart. A `length` larger than the body looks to the client like a broken connection. Headers
    are sent in UTF-8, with single bytes for surrogate escapes.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    delay_s: float = 0
    drip_s: float = 0
    drip_head: bool = False
    piece_bytes: int = 1

    def head(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        lengths = {"Content-Length": str(length)} if length >= 0 else {}
        lines = [f"{name}: {value}" for name, value in {"Connection": "close", **lengths, **self.headers}.items()]
        head = "\r\n".join([f"HTTP/1.1 {self.status} {responses[self.status]}", *lines, "", ""])
        return head.encode(errors="surrogateescape")


@dataclass(frozen=True)
class Received:
    """A request and its answer; `headers` ignores the case of names, `arrived_s` is on the monotonic clock."""

    method: str
    path: str
    headers: Message
    body: bytes
    answer: Answer
    arrived_s: float = field(default_factory=time.monotonic)


class HttpServer(ThreadingHTTPServer):
    """See the module's docstring. Paths without a script answer 404."""

    daemon_threads = False  # so that closing waits for the threads

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[Received] = []
        self.server_names: list[str | None] = []
        self.stopping = threading.Event()
        self._scripts: dict[str, deque[Answer]] = {}
        self._scheme = "http"

    @property
    def port(self) -> int:
        return self.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def answer(self, path: str, *answers: Answer) -> str:
        """Script the answers of `path`, whose URL is returned."""
        self._scripts[path] = deque(answers)
        return self.url(path)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak HTTPS; the names that clients ask for (SNI) are kept in `server_names`."""
        context.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self._scheme = "https"

    def next_answer(self, path: str) -> Answer:
        script = self._scripts.get(path.partition("?")[0], deque([Answer(404)]))
        return script.popleft() if len(script) > 1 else script[0]

    def stop(self) -> None:
        """End `serve_forever`, and every answer that waits or drips."""
        self.stopping.set()
        self.shutdown()

    def handle_error(self, *_: object) -> None:
        """Do not report clients that disconnect early: these tests do so on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    timeout = 10

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.next_answer(self.path)
        self.server.requests.append(Received(self.command, self.path, self.headers, body, answer))
        self.close_connection = True
        self.server.stopping.wait(answer.delay_s)
        with contextlib.suppress(OSError):
            self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = _serve  # noqa: N815  # the names http.server looks for

    def _send(self, answer: Answer) -> None:
        head = answer.head()
        at_once, slowly = (b"", head + answer.body) if answer.drip_head else (head, answer.body)
        self.wfile.write(at_once if answer.drip_s else head + answer.body)
        if not answer.drip_s:
            return
        for start in range(0, len(slowly), answer.piece_bytes):
            self.wfile.write(slowly[start : start + answer.piece_bytes])
            if self.server.stopping.wait(answer.drip_s):
                return

    def log_message(self, *_: object) -> None:
        """Do not log requests; `requests` has them."""


@contextmanager
def http_server(tls: ssl.SSLContext | None = None, *, port: int = 0) -> Iterator[HttpServer]:
    """A running server, by default on a free port. All its threads have ended when the block is left."""
    with HttpServer(port) as server:
        if tls:
            server.encrypt(tls)
        with in_thread(partial(server.serve_forever, poll_interval=0.02), server.stop, name="http-server"):
            yield server
