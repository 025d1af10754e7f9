"""A stem on this machine's disk as a response: with its name, its media type, and any range of it."""

from __future__ import annotations

from http import HTTPStatus
from io import FileIO
from pathlib import Path

from flask import Response, request, send_file
from werkzeug.wsgi import wrap_file

from uvr.storage.content_types import content_type


def stem_file(path: Path, download_name: str) -> Response:
    """The file at `path`, or the range of it that the request asks for. Browsers save it as `download_name`."""
    response = send_file(path, content_type(path.name), as_attachment=True, download_name=download_name)
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        response.response.close()  # type: ignore[union-attr]  # Werkzeug's, which would copy the range piece by piece
        part = FilePart(path, response.content_range.start or 0, response.content_length or 0)
        response.response = wrap_file(request.environ, part)
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


class FilePart(FileIO):
    """A part of a file, which the server can send as it sends whole files: without reading it."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        super().__init__(path)
        self.seek(start)
        self._end = start + size

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes of what is left of the part. For servers that cannot send files."""
        left = max(0, self._end - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""
