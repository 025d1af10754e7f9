"""All stems of a task as one ZIP archive, made while it is sent and never held in memory or on disk.

Stems are stored in it as they are. Deflate would make WAV files a tenth smaller and the others not at all, at 40 MB per
second of a processor core. An archive without its end is not valid, so one whose stems cannot all be read ends without
it, and the connection breaks off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zipfile import ZIP64_LIMIT, ZIP_STORED, ZipFile, ZipInfo

import structlog

from uvr.errors import UvrError

log = structlog.get_logger()

_PIECE_BYTES = 2 * 2**20
"""How much is read from the storage at a time; an archive that is being sent holds this much in memory."""
_MAX_HEADER_BYTES = 2**20
"""More than all headers of an archive take."""
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The format knows none before."""
_READABLE_BY_ALL = 0o644 << 16


@dataclass(frozen=True)
class ArchivedFile:
    """One file of an archive; `read(start, max_bytes)` gives a part of it."""

    name: str
    size_bytes: int
    read: Callable[[int, int], bytes]


def archive_bytes(files: Sequence[ArchivedFile]) -> int | None:
    """The size of the archive of `files`. None from 2 GiB on, where headers depend on the place of each file."""
    content_bytes = sum(file.size_bytes for file in files)
    if content_bytes > ZIP64_LIMIT - _MAX_HEADER_BYTES:
        return None
    headers = archive([replace(file, size_bytes=0) for file in files], datetime.now(UTC))
    return content_bytes + sum(map(len, headers))


def archive(files: Sequence[ArchivedFile], modified: datetime) -> Iterator[bytes]:
    """The archive piece by piece, with ZIP64 headers where a file or the archive needs them.

    Raises `OSError`, which breaks the connection off, if a file cannot be read or is not as long as it should be.
    """
    written = _Pieces()
    with ZipFile(written, "w", ZIP_STORED) as target:  # type: ignore[call-overload]  # takes any object that can write
        for file in files:
            info = ZipInfo(file.name, max(modified.timetuple()[:6], _FIRST_DATE))
            info.external_attr = _READABLE_BY_ALL
            with target.open(info, "w", force_zip64=file.size_bytes > ZIP64_LIMIT) as entry:
                for piece in _content(file):
                    entry.write(piece)
                    yield from written.take()
    yield from written.take()


def _content(file: ArchivedFile) -> Iterator[bytes]:
    start = 0
    while start < file.size_bytes:
        try:
            piece = file.read(start, min(_PIECE_BYTES, file.size_bytes - start))
        except UvrError as error:
            log.warning("archive.broke_off", file=file.name, error=error.message, **error.facts)
            raise OSError(f"the archive broke off: {error.message}") from error
        if not piece:
            raise OSError("the archive broke off: a stem has become shorter")
        start += len(piece)
        yield piece


class _Pieces:
    """A file that cannot seek, from which everything that was written is taken again."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing, as there is nothing behind it."""

    def take(self) -> list[bytes]:
        taken, self._pieces = self._pieces, []
        return taken
