"""GET /tasks/{id}/peaks: what is needed to draw the waveform of a stem, without its audio.

The files were made while the stems were written (`uvr.audio.peaks`), in the formats of audiowaveform, which many
players for the web read.
"""

from __future__ import annotations

import struct
from array import array
from http import HTTPStatus

from flask import Response, abort

from uvr.api.auth.basic import private_blueprint
from uvr.api.problems import Problem, field_problem, problem
from uvr.api.routes.stems import finished_task
from uvr.api.schemas.requests import PeaksQuery, TaskPath
from uvr.api.services import services
from uvr.api.stored_file import refuse_if_missing, stored_file
from uvr.errors import PermanentError

peaks = private_blueprint("peaks")

_HEADER = struct.Struct("<iIiiIi")
_FIELDS = ("version", "flags", "sample_rate", "samples_per_pixel", "length", "channels")
_CACHE = {"Cache-Control": "private, max-age=3600"}
_CONTENT = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}


@peaks.get(
    "/tasks/<task_uuid>/peaks",
    responses={200: {"description": "the peaks", "content": _CONTENT}, 404: Problem, 410: Problem},
)
def download_peaks(path: TaskPath, query: PeaksQuery) -> Response:
    """Download the peaks of one stem, with which a page draws its waveform.

    For each group of samples they have the lowest and the highest one of all channels, in 8 bits. With `format=json`
    the answer is audiowaveform's JSON.
    """
    task = finished_task(path.task_uuid)
    if query.stem not in task.stems:
        message = f"The task has no stem of this name; it has {', '.join(task.stems)}."
        abort(field_problem(HTTPStatus.NOT_FOUND, "stem", message))
    key = task.peaks.get(f"{query.stem}.{query.resolution}")
    if key is None:
        message = "The task has no peaks: an older version of the service made its stems. Separate the song again."
        abort(problem(HTTPStatus.NOT_FOUND, message))
    if query.format == "dat":
        return stored_file(key, f"{query.stem}.{query.resolution}.dat")
    return Response(_as_json(_content(key)), mimetype="application/json", headers=_CACHE)


def _content(key: str) -> bytes:
    storage = services().storage
    try:
        return storage.read(key, 0, storage.size_bytes(key))
    except PermanentError as error:
        refuse_if_missing(error)
        raise


def _as_json(content: bytes) -> str:
    """The same peaks in audiowaveform's JSON format."""
    facts = dict(zip(_FIELDS, _HEADER.unpack_from(content), strict=True))
    del facts["flags"]
    numbers = "".join(f'"{name}":{value},' for name, value in facts.items())
    values = ",".join(map(str, array("b", content[_HEADER.size :])))
    return f'{{{numbers}"bits":8,"data":[{values}]}}'
