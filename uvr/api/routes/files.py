"""GET /files/{key}: stems kept on this service's own disk, for whoever holds a valid link.

The signature in the link is the permission, as with a presigned URL of S3, so no credentials are asked for and a link
can be handed on or played by a browser. Ranges work, for players that seek.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from flask import Response, abort, send_file
from flask_openapi3.blueprint import APIBlueprint

from uvr.api.problems import Problem, problem
from uvr.api.schemas.requests import FilePath, FileQuery
from uvr.api.services import services
from uvr.errors import PermanentError
from uvr.storage.content_types import content_type
from uvr.storage.local import LocalStorage

files = APIBlueprint("files", __name__)

_SOUND = {"audio/*": {"schema": {"type": "string", "format": "binary"}}}


@files.get(
    "/files/<path:key>",
    responses={
        200: {"description": "the stem", "content": _SOUND},
        206: {"description": "the part that Range asked for", "content": _SOUND},
        304: None,
        403: Problem,
        404: Problem,
        416: Problem,
        503: Problem,
    },
)
def download(path: FilePath, query: FileQuery) -> Response:
    """Download a stem by its signed link."""
    stem = _linked_file(path.key, query)
    response = send_file(stem, content_type(stem.name), as_attachment=True, download_name=stem.name, conditional=True)
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def _linked_file(key: str, query: FileQuery) -> Path:
    storage = services().storage
    if not isinstance(storage, LocalStorage):
        abort(problem(HTTPStatus.NOT_FOUND, "Stems are in an object store; GET /tasks/{task_uuid} links to them."))
    try:
        return storage.verify(key, query.expires, query.signature)
    except PermanentError as error:
        missing = error.facts.get("reason") == "missing"
        abort(problem(HTTPStatus.NOT_FOUND if missing else HTTPStatus.FORBIDDEN, error.message))
