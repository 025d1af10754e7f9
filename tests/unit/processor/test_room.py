"""When a song that has filled a disk is tried again, and when it never is."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from uvr.errors import DiskFullError, NoRoomForModelError, PermanentError
from uvr.processor import room as room_module
from uvr.processor.room import SongRoom
from uvr.tasks.model import Task
from uvr.timestamps import now_ms

GIB = 2**30
Usage = namedtuple("Usage", "total used free")


class Beats:
    """A heartbeat that keeps what it was asked to record."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def beat(self, record: dict[str, Any]) -> None:
        self.records.append(record)


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    """The folders of one try, which has written a MiB into each and linked a stored song."""
    folders = {"TEMP_DIR": tmp_path / "work", "OUTPUT_DIR": tmp_path / "stems"}
    for folder in folders.values():
        folder.mkdir()
        (folder / "samples").write_bytes(b"x" * 2**20)
    (tmp_path / "upload").write_bytes(b"x" * 2**20)
    (folders["TEMP_DIR"] / "source").hardlink_to(tmp_path / "upload")
    return folders


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The size and the free space of the disk, which a test may change."""
    sizes = {"total": 10 * GIB, "free": 0}
    monkeypatch.setattr(room_module, "bytes_free", lambda _folder: sizes["free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(sizes["total"], 0, sizes["free"]))
    return sizes


def room(own: dict[str, Path], *, is_only_disk: bool = True) -> SongRoom:
    return SongRoom(own, is_only_disk=is_only_disk)


def needed_after_a_full_disk(own: dict[str, Path], **options: bool) -> dict[str, Any]:
    beats: Any = Beats()
    with pytest.raises(DiskFullError), room(own, **options).learned(own, beats):
        raise OSError(errno.ENOSPC, "No space left on device")
    [kept] = beats.records
    record: dict[str, Any] = kept
    return record


@pytest.mark.usefixtures("disk")
def test_what_the_try_has_written_and_an_eighth_is_needed(own: dict[str, Path]) -> None:
    kept = Task.from_record({**TASK, **needed_after_a_full_disk(own)})
    assert kept is not None
    [(variable, needed_bytes)] = kept.needs_bytes.items()
    assert variable in own
    assert needed_bytes == 2 * 2**20 * 9 // 8, "both folders are on one disk; the linked song stays where it is"
    assert kept.facts["waits_for"].startswith(f"The disk of {variable} is full; the song waits until more than")


@pytest.mark.usefixtures("disk")
def test_a_model_without_room_says_so_and_teaches_nothing_about_the_song(own: dict[str, Path]) -> None:
    beats: Any = Beats()
    with pytest.raises(NoRoomForModelError), room(own).learned(own, beats):
        raise NoRoomForModelError("own.ckpt needs 5 MiB")
    kept = Task.from_record({**TASK, **beats.records[0]})
    assert kept is not None
    assert (kept.facts["waits_for"], kept.needs_bytes) == ("own.ckpt needs 5 MiB", {})


TASK = {"task_uuid": "a", "audio": "a.wav", "priority": "3", "created_ms": "1", "status": "queued"}


def task(started_ms: int) -> Task:
    return Task("a", "a.wav", 3, 1, started_ms=started_ms, needs_bytes={"TEMP_DIR": GIB, "ELSEWHERE": GIB})


def test_the_next_try_waits_until_there_is_more_room(own: dict[str, Path], disk: dict[str, int]) -> None:
    disk["free"] = GIB - 1
    with pytest.raises(DiskFullError, match=r"TEMP_DIR is full; the song waits until more than 1\.00 GiB are free"):
        room(own).require(task(now_ms()))
    disk["free"] = GIB
    room(own).require(task(now_ms()))


@pytest.mark.usefixtures("disk")
def test_after_an_hour_the_song_is_tried_in_any_case(own: dict[str, Path]) -> None:
    room(own).require(task(now_ms() - 3_600_001))


def test_a_song_beside_one_that_filled_the_disk_and_is_gone_does_not_fail(
    own: dict[str, Path], disk: dict[str, int]
) -> None:
    disk["free"] = disk["total"] - 2**22
    assert "needs_bytes" in needed_after_a_full_disk(own), "it waits"


def test_a_song_that_had_the_whole_disk_fails(own: dict[str, Path], disk: dict[str, int]) -> None:
    disk |= {"total": 2 * 2**20}
    beats: Any = Beats()
    with pytest.raises(PermanentError, match=r"more disk space .* in total"), room(own).learned(own, beats):
        raise DiskFullError("The disk is full.")
    assert beats.records == []


def test_another_node_may_have_a_larger_disk(own: dict[str, Path], disk: dict[str, int]) -> None:
    disk |= {"total": 2 * 2**20}
    assert needed_after_a_full_disk(own, is_only_disk=False)["needs_bytes"]


def test_other_errors_pass_and_leave_no_trace(own: dict[str, Path]) -> None:
    beats: Any = Beats()
    with pytest.raises(PermanentError, match="not audio"), room(own).learned(own, beats):
        raise PermanentError("This is not audio.")
    assert beats.records == []
