"""Free space is checked on the real disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from uvr import disk
from uvr.disk import DiskCheck

MORE_THAN_ANY_DISK_HAS = 2**62


def test_a_disk_with_room_has_no_shortage(tmp_path: Path) -> None:
    assert DiskCheck({"TEMP_DIR": tmp_path}, 1).shortage() == ""


def test_a_shortage_names_the_variables_and_no_path(tmp_path: Path) -> None:
    folders = {"TEMP_DIR": tmp_path, "OUTPUT_DIR": tmp_path}
    sentence = DiskCheck(folders, MORE_THAN_ANY_DISK_HAS).shortage()
    assert all(name in sentence for name in ("TEMP_DIR", "OUTPUT_DIR", "MIN_FREE_BYTES", "GiB free"))
    assert str(tmp_path) not in sentence


def test_zero_turns_the_check_off(tmp_path: Path) -> None:
    assert DiskCheck({"TEMP_DIR": tmp_path / ("x" * 300)}, 0).shortage() == ""


def test_a_missing_folder_counts_as_the_nearest_existing_parent(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "later"
    assert DiskCheck({"TEMP_DIR": folder}, 1).shortage() == ""
    assert DiskCheck({"TEMP_DIR": folder}, MORE_THAN_ANY_DISK_HAS).shortage() != ""
    assert not folder.exists()


def test_a_disk_that_cannot_be_checked_counts_as_short(tmp_path: Path) -> None:
    sentence = DiskCheck({"TEMP_DIR": tmp_path / ("x" * 300)}, 1).shortage()
    assert sentence == "The disk of TEMP_DIR cannot be checked: File name too long."


def test_each_change_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = DiskCheck({"TEMP_DIR": tmp_path}, 2**20)
    with capture_logs() as lines:
        for free_bytes in (0, 2**10, 2**30, 2**40, 0):
            monkeypatch.setattr(disk, "bytes_free", lambda _folder, free_bytes=free_bytes: free_bytes)
            space.shortage()
    assert [line["event"] for line in lines] == ["disk.short", "disk.enough", "disk.short"]
