"""GET /files/{key}: stems stored on this service's own disk, for clients with a valid link.

The signature in the link is the permission, as in a presigned URL of S3. So it needs no credentials, can be shared, and
can be played by a browser. Range requests work, for players that seek.
"""

from __future__ import annotations

from http import HTTPStatus
from io import FileIO
from pathlib import Path

from flask import Response, abort, request, send_file
from flask_openapi3.blueprint import APIBlueprint
from werkzeug.wsgi import wrap_file

from uvr.api.problems import Problem, problem
from uvr.api.schemas.requests import FilePath, FileQuery
from uvr.api.services import services
from uvr.errors import PermanentError
from uvr.storage.content_types import content_type
from uvr.storage.local import LocalStorage

files = APIBlueprint("files", __name__)

_AUDIO = {"audio/*": {"schema": {"type": "string", "format": "binary"}}}


@files.get(
    "/files/<path:key>",
    responses={
        200: {"description": "the stem", "content": _AUDIO},
        206: {"description": "the requested range of the stem", "content": _AUDIO},
        304: None,
        403: Problem,
        404: Problem,
        416: Problem,
        503: Problem,
    },
)
def download(path: FilePath, query: FileQuery) -> Response:
    """Download a stem by its signed link."""
    storage = services().storage
    if not isinstance(storage, LocalStorage):
        abort(problem(HTTPStatus.NOT_FOUND, "Stems are in an object store; GET /tasks/{task_uuid} links to them."))
    try:
        stem = storage.verify(path.key, query.expires, query.signature)
    except PermanentError as error:
        is_missing = error.facts.get("reason") == "missing"
        abort(problem(HTTPStatus.NOT_FOUND if is_missing else HTTPStatus.FORBIDDEN, error.message))
    response = send_file(stem, content_type(stem.name), as_attachment=True, download_name=stem.name, conditional=True)
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        response.response.close()  # type: ignore[union-attr]  # Werkzeug's, which would copy the range piece by piece
        part = FilePart(stem, response.content_range.start or 0, response.content_length or 0)
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
