"""A file of a task as a response to its owner, wherever it is stored: the whole of it, or one range.

What is in an object store passes through this process, for a page that may load nothing from other hosts. Small parts,
which is what a player asks for, are read before the answer begins, so they hold no thread while they are sent. Anything
longer is read piece by piece while it is sent, in a request of its own for each piece, and counts as a download.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import structlog
from flask import Response, abort, request

from uvr.api.auth.basic import current_user
from uvr.api.problems import problem
from uvr.api.services import services
from uvr.api.stem_file import stem_file
from uvr.errors import PermanentError, UvrError
from uvr.storage.base import Storage
from uvr.storage.content_types import content_type
from uvr.storage.download_name import attachment
from uvr.storage.local import LocalStorage

log = structlog.get_logger()

_MAX_PART_BYTES = 4 * 2**20
"""Two seconds of a stem with the highest rate that the player asks for are less."""
_PIECE_BYTES = 2 * 2**20


def stored_file(key: str, download_name: str) -> Response:
    """The file stored under `key`, or the range of it that the request asks for.

    Ends the request with 410 if it is not there, 416 for a range that it does not have, and 429 or 503 if a long part
    is asked for and there are too many downloads.
    """
    storage = services().storage
    try:
        if isinstance(storage, LocalStorage):
            return stem_file(storage.path_of(key), download_name)
        return _from_object_store(storage, key, download_name)
    except PermanentError as error:
        refuse_if_missing(error)
        raise


def refuse_if_missing(error: PermanentError) -> None:
    """End the request with a 410 if a file is no longer in the storage."""
    if error.facts.get("reason") == "missing":
        abort(problem(HTTPStatus.GONE, "A stem of this task is no longer stored."))


def _from_object_store(storage: Storage, key: str, download_name: str) -> Response:
    size_bytes = storage.size_bytes(key)
    part = _wanted_part(size_bytes)
    start, end = part or (0, size_bytes)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": attachment(download_name),
        "Content-Length": str(end - start),
    }
    status = HTTPStatus.OK
    if part is not None:
        status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {start}-{end - 1}/{size_bytes}"
    if request.method == "HEAD":
        return Response(headers=headers, mimetype=content_type(key))
    if end - start <= _MAX_PART_BYTES:
        body = storage.read(key, start, end - start) if end > start else b""
        return Response(body, status, headers, mimetype=content_type(key))
    slot = services().download_slots.take(current_user().name)
    response = Response(_pieces(storage, key, start, end), status, headers, mimetype=content_type(key))
    response.call_on_close(slot.release)
    return response


def _wanted_part(size_bytes: int) -> tuple[int, int] | None:
    """From which byte to before which one the request asks; None for the whole file.

    Ends it with a 416 if the file does not have these bytes.
    """
    wanted = request.range
    # Without a validator of ours no file is the one that If-Range names. Several ranges may be answered by the whole.
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or "If-Range" in request.headers:
        return None
    part = wanted.range_for_length(size_bytes)
    if part is None:
        refusal = problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"The file has {size_bytes} bytes.")
        refusal.headers["Content-Range"] = f"bytes */{size_bytes}"
        abort(refusal)
    return part


def _pieces(storage: Storage, key: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to before `end`; raises `OSError`, which breaks the connection off, if one is missing."""
    while start < end:
        try:
            piece = storage.read(key, start, min(_PIECE_BYTES, end - start))
        except UvrError as error:
            log.warning("download.broke_off", key=key, error=error.message, **error.facts)
            raise OSError(f"the download broke off: {error.message}") from error
        if not piece:
            raise OSError("the download broke off: the file has become shorter")
        start += len(piece)
        yield piece
