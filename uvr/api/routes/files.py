"""GET /files/{key}: stems stored on this service's own disk, for clients with a valid link.

The signature in the link is the permission, as in a presigned URL of S3. So it needs no credentials, can be shared, and
can be played by a browser. Range requests work, for players that seek.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, abort, send_file
from flask_openapi3.blueprint import APIBlueprint

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
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response
