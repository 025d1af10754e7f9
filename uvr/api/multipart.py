"""Multipart forms: text fields, and one file that is written to disk as it arrives.

The file is never held in memory, however large it is, and is deleted from the disk when the form is closed. Sizes are
counted while the body is read, whatever its headers announced. From the beginning the file has the size that they
announce, so that other uploads leave room for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, Self

from flask import abort, request
from werkzeug.formparser import FormDataParser

from uvr.api.problems import field_problem
from uvr.errors import disk_error

FORM_TYPE = "multipart/form-data"

_MAX_PARTS = 20
_MAX_TEXT_BYTES = 128 * 2**10
"""Of one text field; must be more than the parser reads at a time."""
_MAX_OVERHEAD_BYTES = 2**20
"""Of everything but the file: text fields, boundaries, headers."""
_CHECK_DISK_EVERY_BYTES = 16 * 2**20
_MAX_NAME_LENGTH = 255


@dataclass(frozen=True)
class SentFile:
    """An uploaded file on this machine's disk. `name` is the client's file name, without folders."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class Form:
    """A form's text fields and files by their field names."""

    texts: dict[str, str]
    files: dict[str, SentFile]


@contextmanager
def received_form(path: Path, *, max_bytes: int, require_room: Callable[[Path], None]) -> Iterator[Form]:
    """The form of the current request. Its file is at `path` until the block ends.

    Ends the request with 413 if the file is larger than `max_bytes`, and with 400 if the form has more than one file,
    the file is empty or the form is malformed. `require_room` is called with `path` before the body is read, when its
    kind is known and now and then while it grows; what it raises ends the request.
    """
    announced_bytes = request.content_length or 0
    if announced_bytes > max_bytes + _MAX_OVERHEAD_BYTES:
        abort(_too_large(max_bytes))
    file = _IncomingFile(path, max_bytes, require_room)
    try:
        file.create(announced_bytes)
        yield _parse(file, max_bytes)
    finally:
        try:
            file.close()
        finally:
            path.unlink(missing_ok=True)


def _parse(file: _IncomingFile, max_bytes: int) -> Form:
    """Read the body to its end, the file straight to disk. Ends the request with a 400 or 413 as described above."""
    request.max_content_length = max_bytes + _MAX_OVERHEAD_BYTES
    open_file: Any = file.open
    parser = FormDataParser(open_file, max_form_memory_size=_MAX_TEXT_BYTES, max_form_parts=_MAX_PARTS, silent=False)
    try:
        _, texts, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
    except (ValueError, OSError):
        # An OSError comes from the connection: `_IncomingFile` turns those of the disk into TransientError.
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", "body is not a complete multipart form."))
    file.close()
    return Form(
        {name: text for name, text in texts.items() if name}, {name: file.sent_file() for name in files if name}
    )


class _IncomingFile:
    """The file of a form, written to disk by the parser."""

    def __init__(self, path: Path, max_bytes: int, require_room: Callable[[Path], None]) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._require_room = require_room
        self._file: Any = None
        self._is_in_form = False
        self._name = ""
        self._size_bytes = self._next_check_bytes = 0
        self._hash = hashlib.sha256()

    def create(self, announced_bytes: int) -> None:
        """Create the file with this size, of which nothing is on the disk yet, and check that there is room for it."""
        with _disk_errors_as_transient():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb")
            self._file.truncate(announced_bytes)
            self._require_room(self._path)

    def open(self, *, filename: str = "", **_headers: Any) -> Self:
        """Take the name of the file. The parser calls this for each file of the form."""
        if self._is_in_form:
            abort(field_problem(HTTPStatus.BAD_REQUEST, "body", "body must contain only one file."))
        # The last part of the path, whichever system it is from, without characters that cannot be shown.
        base_name = PurePosixPath(filename.replace("\\", "/")).name
        self._name = "".join(filter(str.isprintable, base_name))[:_MAX_NAME_LENGTH]
        self._is_in_form = True
        return self

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._size_bytes += len(data)
        if self._size_bytes > self._max_bytes:
            abort(_too_large(self._max_bytes))
        self._hash.update(data)
        with _disk_errors_as_transient():
            self._file.write(data)
            if self._size_bytes < self._next_check_bytes:
                return
            self._file.flush()
            self._next_check_bytes = self._size_bytes + _CHECK_DISK_EVERY_BYTES
            self._require_room(self._path)

    def seek(self, _offset: int) -> None:
        """Do nothing. The parser rewinds a complete file, but this one is read by its path."""

    def close(self) -> None:
        """Close the file, with the size that has arrived."""
        if self._file and not self._file.closed:
            with _disk_errors_as_transient(), self._file:
                self._file.truncate()

    def sent_file(self) -> SentFile:
        """The complete file. Ends the request with a 400 if it is empty."""
        if not self._size_bytes:
            abort(field_problem(HTTPStatus.BAD_REQUEST, "audio", "audio is an empty file."))
        return SentFile(self._path, self._name, self._hash.hexdigest())


@contextmanager
def _disk_errors_as_transient() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, "The upload could not be saved") from error


def _too_large(max_bytes: int) -> Any:
    message = f"audio is too large: the limit is {max_bytes / 2**20:.4g} MiB."
    return field_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "audio", message)
