"""Where packed files lie, what they leave on the disk of the songs, and which of them go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from uvr.errors import DiskFullError
from uvr.models import packed_files
from uvr.models.packed_files import PackedFilesPolicy

GIB = 2**30
DESCRIPTION = "model:\n  num_bands: 60\n"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def policy(tmp_path: Path) -> PackedFilesPolicy:
    return PackedFilesPolicy(tmp_path / "data" / "model-cache", 2 * GIB, (tmp_path / "data" / "temp",))


@pytest.fixture
def read_only(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the models cannot be written to; root may write everywhere."""
    monkeypatch.setattr(packed_files, "_is_writable", lambda folder: folder != models)


def add_model(models: Path, name: str = "own.ckpt", *, age_s: float = 100.0) -> Path:
    path = models / name
    path.write_bytes(b"a checkpoint")
    path.with_suffix(".yaml").write_text(DESCRIPTION)
    for file in (path, path.with_suffix(".yaml")):
        date_back(file, age_s)
    return path


def date_back(path: Path, age_s: float) -> None:
    moment = path.stat().st_mtime - age_s
    os.utime(path, (moment, moment))


def add_packed(folder: Path, model: str = "own.ckpt") -> Path:
    path = folder / f".{model}.0123456789abcdef.packed"
    path.write_bytes(b"packed")
    return path


def test_a_packed_file_lies_beside_its_model(models: Path, policy: PackedFilesPolicy) -> None:
    assert policy.folder_for(models) == models


@pytest.mark.usefixtures("read_only")
def test_packed_files_of_a_read_only_folder_lie_in_the_cache_folder(models: Path, policy: PackedFilesPolicy) -> None:
    folder = policy.folder_for(models, create=False)
    assert not folder.exists()
    assert policy.folder_for(models) == folder
    assert folder.is_dir()
    assert folder.parent == policy.cache_dir


@pytest.mark.usefixtures("read_only")
def test_folders_with_models_of_the_same_name_do_not_meet(tmp_path: Path, models: Path, monkeypatch) -> None:
    policy, other = PackedFilesPolicy(tmp_path / "cache"), tmp_path / "other"
    monkeypatch.setattr(packed_files, "_is_writable", lambda folder: folder not in (models, other))
    assert policy.folder_for(models) != policy.folder_for(other)


@pytest.mark.parametrize("has_cache_dir", [True, False])
def test_without_a_cache_folder_a_private_one_among_the_temporary_files_is_taken(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, *, has_cache_dir: bool
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(packed_files, "_is_writable", lambda _folder: False)
    (tmp_path / "a file").touch()
    folder = PackedFilesPolicy(tmp_path / "a file" / "cache" if has_cache_dir else None).folder_for(models)
    assert folder.is_relative_to(temporary)
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("free", "is_refused"), [(3 * GIB, False), (3 * GIB - 1, True), (GIB, True)], ids=["enough", "less", "no more"]
)
def test_a_conversion_leaves_the_songs_their_room(
    models: Path, policy: PackedFilesPolicy, monkeypatch: pytest.MonkeyPatch, free: int, *, is_refused: bool
) -> None:
    monkeypatch.setattr(packed_files, "bytes_free", lambda _folder: free)
    if not is_refused:
        policy.require_room(models, "own.ckpt", GIB)
        return
    with pytest.raises(DiskFullError) as refused:
        policy.require_room(models, "own.ckpt", GIB)
    assert refused.value.message.startswith(
        "own.ckpt needs 1024 MiB of free disk space beside it (in MODEL_CACHE_DIR if its folder is read-only), and "
        "2048 MiB more for songs (MIN_FREE_BYTES): "
    )
    assert str(models) not in refused.value.message


def test_on_a_disk_without_songs_only_its_own_room_counts(
    models: Path, policy: PackedFilesPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_files, "bytes_free", lambda _folder: GIB)
    monkeypatch.setattr(PackedFilesPolicy, "_is_on_disk_of_songs", lambda *_: False)
    policy.require_room(models, "own.ckpt", GIB)
    with pytest.raises(DiskFullError, match=r"read-only\): its weights"):
        policy.require_room(models, "own.ckpt", GIB + 1)


def test_packed_files_stay_as_long_as_their_models(models: Path, policy: PackedFilesPolicy) -> None:
    model, packed = add_model(models), add_packed(models)
    assert not policy.remove_unowned(models)
    model.unlink()
    assert policy.remove_unowned(models) == [packed.name]
    assert not packed.exists()
    assert model.with_suffix(".yaml").exists()


@pytest.mark.parametrize(
    "change",
    [lambda model: model.write_bytes(b"another"), lambda model: model.with_suffix(".yaml").write_text(DESCRIPTION)],
    ids=["checkpoint", "description"],
)
def test_packed_files_of_models_that_were_replaced_go(
    models: Path, policy: PackedFilesPolicy, change: Callable[[Path], object]
) -> None:
    model, packed = add_model(models), add_packed(models)
    date_back(packed, 50)
    change(model)
    assert policy.remove_unowned(models) == [packed.name]


def test_a_model_with_a_date_in_the_future_keeps_its_packed_file(models: Path, policy: PackedFilesPolicy) -> None:
    add_model(models, age_s=-3600)
    add_packed(models)
    assert not policy.remove_unowned(models)


@pytest.mark.usefixtures("read_only")
def test_packed_files_in_the_cache_folder_go_with_their_models(models: Path, policy: PackedFilesPolicy) -> None:
    model, packed = add_model(models), add_packed(policy.folder_for(models))
    assert not policy.remove_unowned(models)
    model.unlink()
    assert policy.remove_unowned(models) == [packed.name]


def test_other_files_are_never_touched(models: Path, policy: PackedFilesPolicy) -> None:
    others = [models / name for name in (".own.ckpt.lock", "notes.packed", ".notes.packed", ".own.ckpt.packed")]
    for path in others:
        path.touch()
    assert not policy.remove_unowned(models)
    assert all(path.exists() for path in others)


def test_folders_that_do_not_exist_have_no_packed_files(tmp_path: Path, policy: PackedFilesPolicy) -> None:
    assert not policy.remove_unowned(tmp_path / "nowhere")
