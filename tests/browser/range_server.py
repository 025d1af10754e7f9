"""A static server with HTTP Range, whose answers a test delays or refuses while a page plays.

with range_server({"/web": ROOT / "web"}) as server:
    server.files["/songs/vocals.wav"] = Content(wav)
    with server.stalled("/songs/"):
        …
"""

from __future__ import annotations

import mimetypes
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.threads import in_thread


@dataclass(frozen=True)
class Content:
    """A file that need not exist: `read(start, stop)` gives its bytes."""

    size: int
    read: Callable[[int, int], bytes]

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(len(data), lambda start, stop: data[start:stop])


class RangeServer(ThreadingHTTPServer):
    """See the module's docstring; `requests` are the paths and ranges asked for, in their order."""

    daemon_threads = True

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = folders
        self.files: dict[str, Content] = {}
        self.requests: list[tuple[str, str | None]] = []
        self._refused: dict[str, int] = {}
        self._gates: dict[str, threading.Event] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def stalled(self, prefix: str) -> Iterator[None]:
        """Requests below `prefix` get no answer until the block ends."""
        gate = self._gates[prefix] = threading.Event()
        try:
            yield
        finally:
            gate.set()
            del self._gates[prefix]

    @contextmanager
    def refusing(self, prefix: str, status: int) -> Iterator[None]:
        """Requests below `prefix` are answered with `status`; 0 closes the connection without an answer."""
        self._refused[prefix] = status
        try:
            yield
        finally:
            del self._refused[prefix]

    def gate(self, path: str) -> threading.Event | None:
        return next((gate for prefix, gate in self._gates.items() if path.startswith(prefix)), None)

    def refusal(self, path: str) -> int | None:
        return next((status for prefix, status in self._refused.items() if path.startswith(prefix)), None)

    def find(self, path: str) -> Content | None:
        if path in self.files:
            return self.files[path]
        for prefix, folder in self.folders.items():
            file = (folder / path.removeprefix(prefix).lstrip("/")).resolve()
            if path.startswith(f"{prefix}/") and file.is_file() and file.is_relative_to(folder):
                return Content.of(file.read_bytes())
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """A page that jumps closes connections; nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((path, self.headers["Range"]))
        if gate := self.server.gate(path):
            gate.wait(60)
        status = self.server.refusal(path)
        content = self.server.find(path)
        if status == 0:
            self.close_connection = True
        elif status or content is None:
            self._answer(status or 404, b"", {})
        else:
            self._send(content, mimetypes.guess_type(path)[0] or "application/octet-stream")

    def _send(self, content: Content, media_type: str) -> None:
        headers = {"Content-Type": media_type, "Accept-Ranges": "bytes", "Cache-Control": "no-store"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        start, stop = (int(wanted[1]), int(wanted[2] or content.size) + 1) if wanted else (0, content.size)
        stop = min(stop, content.size)
        if wanted and start >= stop:
            self._answer(416, b"", headers)
            return
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
        self._answer(206 if wanted else 200, content.read(start, stop), headers)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Failing tests show what they need."""


@contextmanager
def range_server(folders: Mapping[str, Path]) -> Iterator[RangeServer]:
    """A running server, on a port of its own."""
    with RangeServer(folders) as server, in_thread(server.serve_forever, server.shutdown, name="range server"):
        yield server
