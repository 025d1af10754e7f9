"""Multipart forms: text fields, and one file that is written to disk as it arrives.

The file is never held in memory, however large it is, and is deleted from the disk when the form is closed. Sizes are
counted while the body is read, whatever its headers announced.
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
def received_form(path: Path, *, max_bytes: int, min_free_bytes: int) -> Iterator[Form]:
    """The form of the current request. Its file is at `path` until the block ends.

    Ends the request with 413 if the file is larger than `max_bytes`, and with 400 if the form has more than one file,
    the file is empty or the form is malformed. Raises `TransientError` if less than `min_free_bytes` would stay free on
    the disk.
    """
    announced_bytes = request.content_length or 0
    if announced_bytes > max_bytes + _MAX_OVERHEAD_BYTES:
        abort(_too_large(max_bytes))
    file = _IncomingFile(path, max_bytes, min_free_bytes)
    try:
        file.require_disk_space(announced_bytes)
        yield _parse(file, max_bytes)
    finally:
        file.close()
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

    def __init__(self, path: Path, max_bytes: int, min_free_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._file: Any = None
        self._name = ""
        self._size_bytes = self._checked_bytes = 0
        self._hash = hashlib.sha256()

    def open(self, *, filename: str = "", **_headers: Any) -> Self:
        """Create the file. The parser calls this for each file of the form."""
        if self._file:
            abort(field_problem(HTTPStatus.BAD_REQUEST, "body", "body must contain only one file."))
        # The last part of the path, whichever system it is from, without characters that cannot be shown.
        base_name = PurePosixPath(filename.replace("\\", "/")).name
        self._name = "".join(filter(str.isprintable, base_name))[:_MAX_NAME_LENGTH]
        with _disk_errors_as_transient():
            self._file = self._path.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._size_bytes += len(data)
        if self._size_bytes > self._max_bytes:
            abort(_too_large(self._max_bytes))
        if self._size_bytes - self._checked_bytes >= _CHECK_DISK_EVERY_BYTES:
            self._checked_bytes = self._size_bytes
            self.require_disk_space(0)
        self._hash.update(data)
        with _disk_errors_as_transient():
            self._file.write(data)

    def seek(self, _offset: int) -> None:
        """Do nothing. The parser rewinds a complete file, but this one is read by its path."""

    def close(self) -> None:
        """Flush and close the file."""
        if self._file:
            with _disk_errors_as_transient():
                self._file.close()

    def require_disk_space(self, expected_bytes: int) -> None:
        """Raise `TransientError` unless `min_free_bytes` stay free after writing `expected_bytes` more."""
        with _disk_errors_as_transient():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            left_bytes = bytes_free(self._path.parent) - expected_bytes
        if self._min_free_bytes and left_bytes < self._min_free_bytes:
            raise TransientError(
                "The service does not have enough disk space for this upload at the moment; try again later."
            )

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
        raise TransientError("The upload could not be saved: the service's disk is full or not writable.") from error


def _too_large(max_bytes: int) -> Any:
    message = f"audio is too large: the limit is {max_bytes / 2**20:.4g} MiB."
    return field_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "audio", message)
