"""The handover folder is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from uvr.storage.staging import StagingFolder, remove, stems_of


def test_published_stems_are_found_by_name(tmp_path: Path) -> None:
    handover = StagingFolder(tmp_path, "task", fence=1)
    with handover.filling() as folder:
        (folder / "vocals.wav").write_bytes(b"v")
        (folder / "instrumental.wav").write_bytes(b"i")
        assert stems_of(tmp_path, handover.name) == {}, "nothing shows before it is whole"
        handover.publish()
    stems = stems_of(tmp_path, handover.name)
    assert {name: path.read_bytes() for name, path in stems.items()} == {"instrumental": b"i", "vocals": b"v"}
    remove(tmp_path, handover.name)
    assert stems_of(tmp_path, handover.name) == {}


def test_a_claim_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    handover = StagingFolder(tmp_path, "task", fence=1)
    with pytest.raises(RuntimeError), handover.filling() as folder:
        (folder / "vocals.wav").write_bytes(b"half")
        raise RuntimeError
    assert list((tmp_path / "pending").iterdir()) == []


def test_claims_do_not_touch_each_other(tmp_path: Path) -> None:
    for fence in (1, 2):
        handover = StagingFolder(tmp_path, "task", fence)
        with handover.filling() as folder:
            (folder / "vocals.wav").write_text(str(fence))
            handover.publish()
    assert stems_of(tmp_path, "task.1")["vocals"].read_text() == "1"
    assert stems_of(tmp_path, "task.2")["vocals"].read_text() == "2"


def test_no_name_means_no_stems(tmp_path: Path) -> None:
    StagingFolder(tmp_path, "task", 1)
    assert stems_of(tmp_path, "") == {}
