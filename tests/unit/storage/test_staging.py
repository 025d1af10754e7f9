"""A staging folder appears only when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from uvr.storage.staging import StagingFolder, peaks_of, remove, stems_of


def test_published_stems_are_found_by_name(tmp_path: Path) -> None:
    staging = StagingFolder(tmp_path, "task", fence=1)
    with staging.filling() as folder:
        (folder / "vocals.wav").write_bytes(b"v")
        (folder / "instrumental.wav").write_bytes(b"i")
        assert stems_of(tmp_path, staging.name) == {}, "unpublished stems are not visible"
        staging.publish()
    stems = stems_of(tmp_path, staging.name)
    assert {name: path.read_bytes() for name, path in stems.items()} == {"instrumental": b"i", "vocals": b"v"}
    remove(tmp_path, staging.name)
    assert stems_of(tmp_path, staging.name) == {}


def test_a_failed_attempt_leaves_nothing_behind(tmp_path: Path) -> None:
    staging = StagingFolder(tmp_path, "task", fence=1)
    with pytest.raises(RuntimeError), staging.filling() as folder:
        (folder / "vocals.wav").write_bytes(b"half")
        raise RuntimeError
    assert list((tmp_path / "pending").iterdir()) == []


def test_peaks_lie_beside_the_stems_and_go_with_them(tmp_path: Path) -> None:
    staging = StagingFolder(tmp_path, "task", fence=1)
    with staging.filling() as folder:
        (folder / "vocals.wav").write_bytes(b"v")
        (staging.peaks_path / "vocals.fine.dat").write_bytes(b"p")
        staging.publish()
    assert list(stems_of(tmp_path, staging.name)) == ["vocals"], "older uploaders store every file beside the stems"
    assert {name: path.read_bytes() for name, path in peaks_of(tmp_path, staging.name).items()} == {"vocals.fine": b"p"}
    remove(tmp_path, staging.name)
    assert list((tmp_path / "pending").iterdir()) == []


def test_leases_of_one_task_have_separate_folders(tmp_path: Path) -> None:
    for fence in (1, 2):
        staging = StagingFolder(tmp_path, "task", fence)
        with staging.filling() as folder:
            (folder / "vocals.wav").write_text(str(fence))
            staging.publish()
    assert stems_of(tmp_path, "task.1")["vocals"].read_text() == "1"
    assert stems_of(tmp_path, "task.2")["vocals"].read_text() == "2"


def test_an_empty_name_means_no_stems(tmp_path: Path) -> None:
    StagingFolder(tmp_path, "task", 1)
    assert stems_of(tmp_path, "") == {}
