"""Archives of stems: valid ZIP files of the announced size, and none that looks valid after an error."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from uvr.api import stem_archive
from uvr.api.stem_archive import ArchivedFile, archive, archive_bytes
from uvr.errors import TransientError

WHEN = datetime(2026, 11, 22, 16, 46, 8, tzinfo=UTC)
VOCALS = bytes(range(256)) * 100


def file(name: str, content: bytes) -> ArchivedFile:
    return ArchivedFile(name, len(content), lambda start, count: content[start : start + count])


FILES = [file("歌 (vocals).wav", VOCALS), file("歌 (instrumental).wav", VOCALS[::-1])]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes several pieces of each file."""
    monkeypatch.setattr(stem_archive, "_PIECE_BYTES", 10_000)


def test_archive_has_the_announced_size_and_every_file_as_it_is(tmp_path: Path) -> None:
    content = b"".join(archive(FILES, WHEN))
    assert archive_bytes(FILES) == len(content)
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        assert found.namelist() == ["歌 (vocals).wav", "歌 (instrumental).wav"]
        assert {entry.compress_type for entry in found.infolist()} == {zipfile.ZIP_STORED}
        assert found.infolist()[0].date_time == (2026, 11, 22, 16, 46, 8)
        assert found.read("歌 (vocals).wav") == VOCALS
    if shutil.which("unzip"):
        (tmp_path / "stems.zip").write_bytes(content)
        subprocess.run(["unzip", "-tq", tmp_path / "stems.zip"], check=True, capture_output=True)


def test_large_files_have_zip64_headers_and_no_announced_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (zipfile, stem_archive):
        monkeypatch.setattr(module, "ZIP64_LIMIT", 20_000)
    assert archive_bytes(FILES) is None
    content = b"".join(archive(FILES, WHEN))
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        assert found.read("歌 (instrumental).wav") == VOCALS[::-1]
        assert {entry.extract_version for entry in found.infolist()} == {zipfile.ZIP64_VERSION}


def test_a_task_of_unknown_age_has_an_archive_too() -> None:
    content = b"".join(archive(FILES, datetime.fromtimestamp(0, UTC)))
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_archive_is_made_piece_by_piece() -> None:
    read: list[int] = []

    def part(start: int, count: int) -> bytes:
        read.append(start)
        return bytes(count)

    pieces = archive([ArchivedFile("a.wav", 10**12, part)], WHEN)
    for _ in range(5):
        assert len(next(pieces)) <= 10_000
    assert len(read) <= 5


@pytest.mark.parametrize("ends_as", ["an error", "a shorter file"])
def test_what_cannot_be_read_ends_the_archive_without_its_directory(ends_as: str) -> None:
    def part(start: int, _count: int) -> bytes:
        if start < 10_000:
            return VOCALS[:10_000]
        if ends_as == "an error":
            raise TransientError("The storage is overloaded.")
        return b""

    received = b""
    with pytest.raises(OSError, match="the archive broke off"):
        for piece in archive([FILES[0], ArchivedFile("b.wav", 25_600, part)], WHEN):
            received += piece
    assert VOCALS[:10_000] in received
    assert not zipfile.is_zipfile(io.BytesIO(received))
