"""The stems of a task at addresses that never expire, for clients with credentials: one by one, or all in one archive.

Unlike the links of a task, these addresses can be written down. A stem in an object store is a redirect to a fresh
link, but the page of the service, which knows no other host, gets it from the service. So it does an archive.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from flask import Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from uvr.api.access import accessible_task
from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.auth.session_cookie import given_cookie
from uvr.api.problems import Problem, field_problem, problem
from uvr.api.routes.files import AUDIO
from uvr.api.schemas.requests import StemPath, TaskPath
from uvr.api.services import services
from uvr.api.stem_archive import ArchivedFile, archive, archive_bytes
from uvr.api.stored_file import refuse_if_missing, stored_file
from uvr.errors import PermanentError
from uvr.storage.download_name import attachment
from uvr.tasks.download_names import stem_download_name, zip_download_name
from uvr.tasks.model import Status, Task

stems = private_blueprint("stems")

_ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}


@stems.get(
    "/tasks/<task_uuid>/stems/<name>",
    responses={
        200: {"description": "the stem", "content": AUDIO},
        206: {"description": "the requested range of the stem", "content": AUDIO},
        302: {"description": "the stem is at the Location, in the object store"},
        304: None,
        404: Problem,
        410: Problem,
        416: Problem,
    },
)
def download_stem(path: StemPath) -> AnyResponse:
    """Download one stem by its name, such as vocals.

    If stems are in an object store, this redirects to a fresh link, except for the page of the service.
    """
    task = finished_task(path.task_uuid)
    key = task.stems.get(path.name)
    if key is None:
        message = f"The task has no stem of this name; it has {', '.join(task.stems)}."
        abort(field_problem(HTTPStatus.NOT_FOUND, "name", message))
    storage = services().storage
    if storage.kind == "s3" and not given_cookie():
        return redirect(storage.url(key, services().settings.link_ttl_seconds))
    return stored_file(key, stem_download_name(task, path.name, key))


@stems.get(
    "/tasks/<task_uuid>/stems.zip",
    responses={200: {"description": "all stems", "content": _ZIP}, 404: Problem, 410: Problem},
)
def download_stems(path: TaskPath) -> Response:
    """Download all stems as one ZIP archive, in which they are named after the song.

    It is made while it is sent, so it cannot be continued in the middle. The number of downloads is limited: 429 with
    Retry-After if the user has too many, 503 if all users together have. If a stem cannot be read after the archive has
    begun, the connection breaks off.
    """
    task, storage = finished_task(path.task_uuid), services().storage
    try:
        files = [
            ArchivedFile(stem_download_name(task, name, key), storage.size_bytes(key), partial(storage.read, key))
            for name, key in task.stems.items()
        ]
    except PermanentError as error:
        refuse_if_missing(error)
        raise
    headers = {"Content-Disposition": attachment(zip_download_name(task)), "Accept-Ranges": "none"}
    if (size_bytes := archive_bytes(files)) is not None:
        headers["Content-Length"] = str(size_bytes)
    if request.method == "HEAD":
        return Response(headers=headers, mimetype="application/zip")
    slot = services().archive_slots.take(current_user().name)
    modified = datetime.fromtimestamp(task.finished_ms / 1000, UTC)
    response = Response(archive(files, modified), headers=headers, mimetype="application/zip")
    response.call_on_close(slot.release)
    return response


def finished_task(task_uuid: str) -> Task:
    """The task, whose stems are stored. Ends the request with a 404 or 410 if they are not there (any more)."""
    task = accessible_task(task_uuid)
    if task.stems_deleted_ms:
        abort(problem(HTTPStatus.GONE, "The stems of this task have reached their maximum age and were deleted."))
    if task.status is not Status.SUCCESS or not task.stems:
        reason = "has no stems" if task.status.is_final else "has no stems yet; they are there once it has succeeded"
        abort(problem(HTTPStatus.NOT_FOUND, f"The task is {task.status} and {reason}."))
    return task
