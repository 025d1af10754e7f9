"""The whole engine: the SDR that torch reaches, levels, lengths, channels, cancelling, and what comes with a model."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import Samples, noise, read_audio, snr_db, write_audio
from tests.support.check_processes import in_check_process
from tests.support.roformers import GEOMETRIES, write_model
from tests.support.song import separate_song
from uvr.errors import CancelledError, DiskFullError, PermanentError
from uvr.models import packed_files
from uvr.models.stems import stems_of_model
from uvr.separation.native import self_check
from uvr.separation.precision import PrecisionChoice
from uvr.separation.roformer.engine import RoformerEngine
from uvr.separation.roformer.self_check import KernelsRefusedError

pytestmark = pytest.mark.usefixtures("kernels")

TORCHS_SDR_DB = {
    "rubidium": {"vocals": 3.5671, "instrumental": 19.6631},
    "potassium": {"vocals": 4.3959, "instrumental": 17.7900},
}
"""What audio-separator 0.47.1 reaches in torch with the trained model (README of ../shared/data/roformer)."""
TRUE_STEMS = {"vocals": "vocals", "instrumental": "accompaniment"}
LEVELS = (1.0, 0.5, 0.25, 0.02, 1e-4)


def engine_of(path: Path, precision: PrecisionChoice = "auto") -> RoformerEngine:
    return RoformerEngine(path, path.with_suffix(".yaml"), threads=2, precision=precision)


@pytest.fixture(scope="module")
def trained_model(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for file in (shared_data / "roformer").glob("tiny-bs-roformer.*"):
        shutil.copyfile(file, folder / file.name)
    return folder / "tiny-bs-roformer.ckpt"


@pytest.fixture(scope="module")
def trained(trained_model: Path) -> RoformerEngine:
    return engine_of(trained_model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def small(folder: Path) -> RoformerEngine:
    """Random weights; one stem and what is left."""
    return engine_of(write_model(folder, "small.ckpt", GEOMETRIES["kims_hop"], ["vocals", "other"], target="vocals"))


def separated(engine: RoformerEngine, song: Samples, folder: Path, **options) -> dict[str, Samples]:
    folder.mkdir(exist_ok=True)
    source = write_audio(folder / "song.wav", song, codec="pcm_f32le")
    made = separate_song(engine, source, folder, **({"max_seconds": 600} | options))
    return {name: read_audio(path) for name, path in made.stems.items()}


@pytest.mark.parametrize("song", TORCHS_SDR_DB)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stems_have_the_sdr_that_torch_reaches_in_float32(
    trained_model: Path, shared_data: Path, tmp_path: Path, song: str, precision: PrecisionChoice
) -> None:
    """Without instructions for bfloat16, portable code computes the same."""
    music = shared_data / "music" / song
    engine = engine_of(trained_model, precision)
    stems = separated(engine, read_audio(music / "mixture.flac"), tmp_path)
    assert engine.precision == precision
    for stem, file in TRUE_STEMS.items():
        sdr_db = snr_db(read_audio(music / f"{file}.flac"), stems[stem])
        assert sdr_db == pytest.approx(TORCHS_SDR_DB[song][stem], abs=0.02), stem


def test_stems_are_as_good_at_every_level(trained: RoformerEngine, shared_data: Path, tmp_path: Path) -> None:
    music = shared_data / "music" / "rubidium"
    files = {"mixture": "mixture", **TRUE_STEMS}
    song = {stem: read_audio(music / f"{file}.flac")[:, 441_000:752_000] for stem, file in files.items()}
    peak, sdr_db = np.abs(song["mixture"]).max(), dict[str, list[float]](vocals=[], instrumental=[])
    for level in LEVELS:
        factor = np.float32(level / peak)
        stems = separated(trained, song["mixture"] * factor, tmp_path / str(level))
        for stem, found in sdr_db.items():
            found.append(snr_db(song[stem] * factor, stems[stem]))
    for stem, found in sdr_db.items():
        assert max(found) - min(found) < 0.02, stem


@pytest.mark.parametrize("samples", [1, 500, 30_001, 112_455, 200_003])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_have_the_length_and_the_channels_of_the_song_and_add_up(
    small: RoformerEngine, tmp_path: Path, samples: int, channels: int
) -> None:
    song = noise(samples / 44_100 + 0.1, channels=channels)[:, 2205 : 2205 + samples]
    stems = separated(small, song, tmp_path)
    assert set(stems) == {"vocals", "instrumental"}
    assert all(sound.shape == song.shape for sound in stems.values())
    assert snr_db(song, stems["vocals"] + stems["instrumental"]) > 100
    assert stems["vocals"].any()


def test_a_mono_network_estimates_each_channel_of_a_stereo_song(folder: Path, tmp_path: Path) -> None:
    engine = engine_of(write_model(folder, "mono.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals"))
    song = noise(3.5, channels=2)
    song *= 0.5 / np.abs(song).max(
        axis=1, keepdims=True
    )  # alone, each channel has the level that it has with the other
    both = separated(engine, song, tmp_path / "both")["vocals"]
    for channel in (0, 1):
        own = separated(engine, song[channel : channel + 1], tmp_path / str(channel))["vocals"]
        assert snr_db(both[channel : channel + 1], own) > 80


def test_several_stems_come_from_one_pass(folder: Path, tmp_path: Path) -> None:
    path = write_model(
        folder, "three.safetensors", GEOMETRIES["linear_attention_and_three_stems"], ["drums", "bass", "vocals"]
    )
    stems = separated(engine_of(path), noise(2.0, channels=2), tmp_path)
    assert set(stems) >= {"drums", "bass", "vocals"}
    assert not np.allclose(stems["drums"], stems["bass"])


def test_one_of_three_stems_and_the_rest_add_up_to_the_song(folder: Path, tmp_path: Path) -> None:
    instruments = ["vocals", "drums", "bass"]
    path = write_model(folder, "drums.ckpt", GEOMETRIES["kims_hop"], instruments, target="drums")
    song = noise(1.0, channels=2)
    stems = separated(engine_of(path), song, tmp_path)
    assert tuple(stems) == stems_of_model(path.name, folder) == ("drums", "no_drums")
    assert snr_db(song, stems["drums"] + stems["no_drums"]) > 100


def test_digital_silence_stays_silent(small: RoformerEngine, tmp_path: Path) -> None:
    stems = separated(small, np.zeros((2, 150_000), np.float32), tmp_path)
    assert not any(sound.any() for sound in stems.values())


def test_cancelling_is_noticed_after_a_layer(small: RoformerEngine, tmp_path: Path) -> None:
    reports: list[float] = []
    with pytest.raises(CancelledError):
        separated(small, noise(4.0), tmp_path, on_progress=reports.append, cancelled=lambda: len(reports) >= 4)
    assert len(reports) <= 5
    assert reports == sorted(reports)


def test_a_restart_is_ready_at_once(small: RoformerEngine, folder: Path) -> None:
    began = time.monotonic()
    again = engine_of(folder / "small.ckpt")
    assert time.monotonic() - began < 1
    assert again.fingerprint == small.fingerprint


def packed_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".packed" in path.name)


@pytest.fixture
def one_model(tmp_path: Path) -> Path:
    return write_model(tmp_path, "own.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals")


def test_a_changed_model_is_converted_again_and_old_files_are_removed(one_model: Path, tmp_path: Path) -> None:
    first = engine_of(one_model)
    (before,) = packed_in(tmp_path)
    (tmp_path / ".gone.ckpt.0123456789abcdef.packed").write_bytes(b"of a model that was deleted")
    (tmp_path / f"{before}.123.part").write_bytes(b"of a process that was killed")
    write_model(tmp_path, "own.ckpt", GEOMETRIES["kims_hop"], ["vocals"], target="vocals")
    second = engine_of(one_model)
    (after,) = packed_in(tmp_path)
    assert before != after
    assert first.fingerprint != second.fingerprint


def test_a_damaged_packed_file_is_made_again(one_model: Path, tmp_path: Path) -> None:
    engine_of(one_model)
    (name,) = packed_in(tmp_path)
    for content in (b"", b"UVRROF01" + bytes(100), (tmp_path / name).read_bytes()[:-5000]):
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(content)
        engine_of(one_model)


def test_a_read_only_folder_is_no_obstacle(
    one_model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(packed_files.os, "access", lambda *_: False)  # as root may write to every folder
    in_check_process(temporary / "check", monkeypatch)(f"""
import os, tempfile
os.access, tempfile.tempdir = lambda *_: False, {str(temporary)!r}
""")
    first, again = engine_of(one_model), engine_of(one_model)
    assert first.fingerprint == again.fingerprint
    assert not packed_in(tmp_path)
    assert len([*temporary.glob("uvr-packed-models-*/*/.own.ckpt.*.packed")]) == 1


def test_a_full_disk_is_named(one_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_files, "bytes_free", lambda _folder: 1_000_000)
    with pytest.raises(DiskFullError, match=r"own\.ckpt needs \d+ MiB of free disk space"):
        engine_of(one_model)


def test_kernels_that_compute_something_else_are_refused(
    one_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_check_process(tmp_path / "check", monkeypatch)("""
from uvr.separation.roformer.network import RoformerNetwork
masks = RoformerNetwork.masks
RoformerNetwork.masks = lambda self, spectrum: masks(self, spectrum) + 0.1
""")
    for _ in range(2):
        with pytest.raises(KernelsRefusedError, match="at least 60 dB are required"):
            engine_of(one_model)


def test_a_check_that_never_finishes_refuses_the_model_and_says_why(
    one_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_check_process(tmp_path / "check", monkeypatch)("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(KernelsRefusedError, match=r"was started 3 times and never finished \(.*not enough memory\)"):
        engine_of(one_model)


def test_a_model_is_checked_once(one_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine_of(one_model)
    monkeypatch.setattr(self_check, "run_check", lambda _comparison: pytest.fail("it was checked again"))
    engine_of(one_model)


def test_an_unknown_key_is_refused_by_its_name(one_model: Path) -> None:
    text = one_model.with_suffix(".yaml").read_text()
    one_model.with_suffix(".yaml").write_text(text.replace("  dim: 32\n", "  dim: 32\n  new_trick: 3\n"))
    with pytest.raises(PermanentError, match=r"model\.new_trick"):
        engine_of(one_model)
