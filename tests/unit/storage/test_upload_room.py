"""How much room uploads take now, and how much what follows from them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from uvr.errors import DiskFullError
from uvr.storage import upload_room
from uvr.storage.upload_room import UploadRoom

MIB = 2**20
HEADS = {"wav": b"RIFF", "flac": b"fLaC", "mp3": b"ID3\x04"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def room(folder: Path, **settings: Any) -> UploadRoom:
    values = {"min_free_bytes": MIB, **settings}
    return UploadRoom(Settings(_env_file=None, **values), folder)


def upload(folder: Path, name: str, kind: str, mib: int, *, arrived: bool = True) -> Path:
    """An upload of this size; one that has not arrived is only announced but for its first bytes."""
    path = folder / name
    with path.open("wb") as file:
        file.write(HEADS[kind] + (os.urandom(mib * MIB - 4) if arrived else b""))
        file.truncate(mib * MIB)
    return path


def needed_mib(monkeypatch: pytest.MonkeyPatch, room: UploadRoom, path: Path) -> int:
    """The smallest free space with which `path` is accepted, beyond the MiB that must stay free."""

    def is_accepted(mib: int) -> bool:
        monkeypatch.setattr(upload_room, "bytes_free", lambda _folder: (mib + 1) * MIB)
        try:
            room.require(path)
        except DiskFullError:
            return False
        return True

    return next(mib for mib in range(10_000) if is_accepted(mib))


@pytest.mark.parametrize(("kind", "stem_mib"), [("wav", 2), ("flac", 4), ("mp3", 22)])
def test_a_song_needs_room_for_its_rest_its_samples_and_two_stems(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stem_mib: int
) -> None:
    path = upload(folder, ".a.part", kind, 2, arrived=False)
    assert needed_mib(monkeypatch, room(folder), path) == 2 + 2 * stem_mib + 2 * 2 * stem_mib


def test_for_the_songs_before_it_their_stems_are_kept_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = upload(folder, ".a.part", "wav", 1)
    alone = needed_mib(monkeypatch, room(folder), path)
    upload(folder, "waits.00", "wav", 3)
    upload(folder, ".arrives-in-another-process.part", "wav", 4, arrived=False)
    assert needed_mib(monkeypatch, room(folder), path) == alone + 2 * 3 + 4 + 2 * 4


def test_a_song_that_no_process_receives_any_more_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = upload(folder, ".a.part", "wav", 1)
    alone = needed_mib(monkeypatch, room(folder), path)
    abandoned = upload(folder, ".of-a-killed-process.part", "wav", 400, arrived=False)
    os.utime(abandoned, (time.time() - 3600,) * 2)
    assert needed_mib(monkeypatch, room(folder), path) == alone


def test_no_song_counts_as_longer_than_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = upload(folder, ".a.part", "mp3", 1)
    seconds = 2 * MIB / 176_400
    assert needed_mib(monkeypatch, room(folder, max_audio_seconds=seconds), path) == 4 + 8


def test_with_a_bucket_only_what_is_still_to_arrive_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = upload(folder, ".a.part", "mp3", 2, arrived=False)
    assert needed_mib(monkeypatch, room(folder, s3_bucket_name="stems"), path) == 2


def test_zero_turns_the_check_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_room, "bytes_free", lambda _folder: 0)
    room(folder, min_free_bytes=0).require(upload(folder, ".a.part", "wav", 1))
