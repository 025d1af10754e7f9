"""GET /: the page of the service for browsers, a few lines of text for everything else. GET /console/…: its files.

The page is plain HTML, CSS and ES modules in web/. It loads nothing from other hosts, and its policy allows no inline
script or style, so injected text does nothing. Browsers keep the files and ask each time whether
they have changed, so a new version of the service never meets an old page.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.security import safe_join

from config import ROOT, VERSION, Settings
from uvr.api.auth.client_address import service_url

WEB = ROOT / "web"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
_COMPRESSED = frozenset({".css", ".html", ".js", ".json", ".svg"})

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; media-src 'self' blob:; worker-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, as elsewhere, a form of the page would have no Origin, and be taken for one of another site.
    "Referrer-Policy": "same-origin",
}

_ABOUT = """uvr-api {version} splits songs into stems, such as vocals and instrumental.

{page}For people     {url}/docs
For programs   {url}/openapi.json
Is it up?      {url}/health

Send a song: curl -u USER:PASSWORD {url}/generate -F audio=@song.mp3
"""

_PAGE = "In a browser   {url}/\n"


@dataclass(frozen=True)
class PageFile:
    """A file of the page; `compressed` is empty if that would not make it smaller."""

    content: bytes
    compressed: bytes
    content_type: str
    etag: str


def register_console(app: Flask, settings: Settings) -> None:
    """Add these addresses to `app`. With CONSOLE=off, browsers get the text as well, and there are no files."""
    console = Blueprint("console", __name__)

    @console.get("/")
    def show_page() -> Response:
        wants_page = request.accept_mimetypes["text/html"] > request.accept_mimetypes["text/plain"]
        if settings.console and wants_page:
            response = _response("index.html")
        else:
            response = Response(_about(settings), mimetype="text/plain")
        response.vary.add("Accept")
        return response

    @console.get("/console/<path:name>")
    def show_file(name: str) -> Response:
        if not settings.console:
            abort(404)
        return _response(name)

    app.register_blueprint(console)


def _about(settings: Settings) -> str:
    url = service_url()
    page = _PAGE.format(url=url) if settings.console else ""
    return _ABOUT.format(version=VERSION, url=url, page=page)


def _response(name: str) -> Response:
    """The file of the page with this name, or 304 if the browser has it. Ends the request with a 404 without one."""
    file = _file(name)
    if file is None:
        abort(404)
    is_compressed = bool(file.compressed) and request.accept_encodings["gzip"] > 0
    response = Response(file.compressed if is_compressed else file.content, headers=_HEADERS)
    response.content_type = file.content_type
    response.vary.add("Accept-Encoding")
    if is_compressed:
        response.content_encoding = "gzip"
    response.set_etag(f"{file.etag}-gzip" if is_compressed else file.etag)
    response.make_conditional(request)
    return response


def _file(name: str) -> PageFile | None:
    """The file below web/ with this name, as it is now; None if there is none that browsers may have."""
    joined = safe_join(str(WEB), name)
    path = Path(joined or "")
    if joined is None or path.suffix not in _TYPES:
        return None
    try:
        if not path.is_file() or not path.resolve().is_relative_to(WEB):
            return None
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size)
    except OSError:  # a name that is too long, or a file that is replaced at this moment
        return None


@lru_cache(maxsize=256)
def _read(path: Path, _mtime_ns: int, _size_bytes: int) -> PageFile:
    """Read and compress a file, once for each time and size."""
    content = path.read_bytes()
    compressed = gzip.compress(content, mtime=0) if path.suffix in _COMPRESSED else b""
    if len(compressed) >= len(content):
        compressed = b""
    return PageFile(content, compressed, _TYPES[path.suffix], sha256(content).hexdigest()[:32])
