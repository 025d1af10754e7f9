"""Multipart forms: text fields, and one file that goes to the disk as it arrives.

Nothing of the file is held in memory, however large it is, and nothing of it stays on the disk unless whoever takes the
form has stored it. What is too large ends while it is read, whatever its headers said before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, Self

from flask import abort, request
from werkzeug.formparser import FormDataParser

from uvr.api.problems import field_problem
from uvr.disk import bytes_free
from uvr.errors import TransientError

FORM_TYPE = "multipart/form-data"

_MAX_PARTS = 20
_MAX_TEXT_BYTES = 128 * 2**10
"""Of one text field, and more than the parser reads at a time."""
_MAX_AROUND_BYTES = 2**20
"""Of all that is not the file: text fields, boundaries, headers."""
_LOOK_AT_DISK_EVERY_BYTES = 16 * 2**20
_MAX_NAME_LENGTH = 255


@dataclass(frozen=True)
class SentFile:
    """A file on this machine's disk; `name` is what the client calls it, without folders."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class Form:
    """Fields by their names."""

    texts: dict[str, str]
    files: dict[str, SentFile]


@contextmanager
def received_form(path: Path, *, max_bytes: int, min_free_bytes: int) -> Iterator[Form]:
    """The form in the current request, its file at `path` until the block ends.

    The request ends with 413 when the file is larger than `max_bytes`, and with 400 when there is more than one, when
    it is empty or the form is broken. Raises `TransientError` when its disk would have less than `min_free_bytes` left.
    """
    length = request.content_length or 0
    if length > max_bytes + _MAX_AROUND_BYTES:
        abort(_too_large(max_bytes))
    incoming = _Incoming(path, max_bytes, min_free_bytes)
    try:
        incoming.look_for_room(length)
        yield _parsed(incoming, max_bytes)
    finally:
        incoming.close()
        path.unlink(missing_ok=True)


def _parsed(incoming: _Incoming, max_bytes: int) -> Form:
    request.max_content_length = max_bytes + _MAX_AROUND_BYTES
    opened: Any = incoming.open
    parser = FormDataParser(opened, max_form_memory_size=_MAX_TEXT_BYTES, max_form_parts=_MAX_PARTS, silent=False)
    try:
        _, texts, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
    except (ValueError, OSError):
        # An OSError is the connection's here: those of the disk have become others.
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", "body is not a whole multipart form."))
    incoming.close()
    return Form(
        {name: text for name, text in texts.items() if name}, {name: incoming.sent_file() for name in files if name}
    )


class _Incoming:
    """The file of a form as the parser writes it."""

    def __init__(self, path: Path, max_bytes: int, min_free_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._file: Any = None
        self._name = ""
        self._size = self._looked_at = 0
        self._hash = hashlib.sha256()

    def open(self, *, filename: str = "", **_headers: Any) -> Self:
        """Begin; what the parser calls for each file."""
        if self._file:
            abort(field_problem(HTTPStatus.BAD_REQUEST, "body", "body must have one file only."))
        self._name = _base_name(filename)
        with _disk_errors_explained():
            self._file = self._path.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._size += len(data)
        if self._size > self._max_bytes:
            abort(_too_large(self._max_bytes))
        if self._size - self._looked_at >= _LOOK_AT_DISK_EVERY_BYTES:
            self._looked_at = self._size
            self.look_for_room(0)
        self._hash.update(data)
        with _disk_errors_explained():
            self._file.write(data)

    def seek(self, _offset: int) -> None:
        """What the parser does at the end of a file, for whoever reads it next."""

    def close(self) -> None:
        """Let everything be in the file."""
        if self._file:
            with _disk_errors_explained():
                self._file.close()

    def look_for_room(self, expected_bytes: int) -> None:
        """Raise `TransientError` unless there is room for that many bytes."""
        with _disk_errors_explained():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            left_bytes = bytes_free(self._path.parent) - expected_bytes
        if self._min_free_bytes and left_bytes < self._min_free_bytes:
            raise TransientError("The service has no room for an upload of this size at the moment; try again later.")

    def sent_file(self) -> SentFile:
        """What has come."""
        if not self._size:
            abort(field_problem(HTTPStatus.BAD_REQUEST, "audio", "audio is an empty file."))
        return SentFile(self._path, self._name, self._hash.hexdigest())


@contextmanager
def _disk_errors_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransientError(
            "The upload could not be kept: the disk of the service is full or not writable."
        ) from error


def _too_large(max_bytes: int) -> Any:
    message = f"audio is too large: the limit is {max_bytes / 2**20:.4g} MiB."
    return field_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "audio", message)


def _base_name(name: str) -> str:
    """The last part of a path of any system, in characters that can be shown."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(filter(str.isprintable, last))[:_MAX_NAME_LENGTH]
