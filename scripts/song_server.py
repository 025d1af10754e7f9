"""The HTTP server of a client: it serves one song and receives webhooks."""

from __future__ import annotations

import json
import mimetypes
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class SongServer(ThreadingHTTPServer):
    """Serves `song` at `song_url` and puts the JSON that is posted to `hook_url` into the queue `webhooks`."""

    def __init__(self, song: Path, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.song = song
        self.webhooks: queue.Queue[dict[str, Any]] = queue.Queue()
        self.song_url = f"http://{host}:{self.server_port}/song{song.suffix}"
        self.hook_url = f"http://{host}:{self.server_port}/hook"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in the background until the block ends."""
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: SongServer

    def do_GET(self) -> None:
        song = self.server.song.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", mimetypes.guess_type(self.server.song)[0] or "application/octet-stream")
        self.send_header("Content-Length", str(len(song)))
        self.end_headers()
        self.wfile.write(song)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.webhooks.put(json.loads(body))

    def log_message(self, *_arguments: object) -> None:
        pass
