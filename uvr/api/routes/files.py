"""GET /files/{key}: stems stored on this service's own disk, for clients with a valid link.

The signature in the link is the permission, as in a presigned URL of S3. So it needs no credentials, can be shared, and
can be played by a browser. Range requests work, for players that seek. The file is named after the song; its task says
how, so links need not contain the name.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import structlog
from flask import Response, abort
from flask_openapi3.blueprint import APIBlueprint
from redis import RedisError

from uvr.api.problems import Problem, problem
from uvr.api.schemas.requests import FilePath, FileQuery
from uvr.api.services import services
from uvr.api.stem_file import stem_file
from uvr.errors import PermanentError
from uvr.storage.local import LocalStorage
from uvr.tasks.download_names import stem_download_name

log = structlog.get_logger()

files = APIBlueprint("files", __name__)

AUDIO = {"audio/*": {"schema": {"type": "string", "format": "binary"}}}
_TASK_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@files.get(
    "/files/<path:key>",
    responses={
        200: {"description": "the stem", "content": AUDIO},
        206: {"description": "the requested range of the stem", "content": AUDIO},
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
    return stem_file(stem, _download_name(path.key, stem))


def _download_name(key: str, stem: Path) -> str:
    """The stem's name by its task; that of the file if the task is not found, or Redis does not answer at once."""
    if task_uuid := _TASK_UUID.match(stem.name):
        try:
            task = services().impatient_store.get(task_uuid[0])
        except RedisError as error:
            log.warning("links.name_not_read", error=str(error))
            return stem.name
        for name, its_key in task.stems.items() if task else ():
            if task and its_key == key:
                return stem_download_name(task, name, key)
    return stem.name
