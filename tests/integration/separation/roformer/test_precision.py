"""INFERENCE_PRECISION on a RoFormer: bfloat16 only if its self-check agrees, else float32, each with a file of its own.

On a processor without instructions for bfloat16, portable code computes it here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import structlog

from tests.support.audio import read_audio
from tests.support.check_processes import in_check_process
from tests.support.roformers import GEOMETRIES, random_network, write_model
from uvr.errors import DiskFullError, PermanentError, TransientError
from uvr.models import packed_files
from uvr.models.packed_files import BESIDE_MODELS
from uvr.separation import precision
from uvr.separation.mdx.stft import Stft
from uvr.separation.mixture import NETWORK_PEAK
from uvr.separation.native import self_check
from uvr.separation.native.self_check import MAX_TRIES, MIN_SNR_DB, Verdict, snr_db
from uvr.separation.precision import PrecisionChoice
from uvr.separation.roformer import checked_weights
from uvr.separation.roformer.checked_weights import recorded_verdict
from uvr.separation.roformer.engine import RoformerEngine
from uvr.separation.roformer.self_check import ReferenceComparison, fixed_spectrum
from uvr.separation.roformer.spectra import joined

pytestmark = pytest.mark.usefixtures("kernels")

REFUSES_BFLOAT16 = """
from uvr.separation.roformer.self_check import ReferenceComparison
check = ReferenceComparison.__call__
ReferenceComparison.__call__ = lambda self: 21.5 if self.terms == 1 else check(self)
"""
FINDING = "the self-check in bfloat16 found 21.5 dB; at least 35 dB are required"


@pytest.fixture(autouse=True)
def every_set_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _instruction_set: True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path, "own.ckpt", GEOMETRIES["kims_hop"], ["vocals"], target="vocals")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_check_process(tmp_path / "check", monkeypatch)(REFUSES_BFLOAT16)


def opened(model: Path, choice: PrecisionChoice = "auto") -> RoformerEngine:
    return RoformerEngine(model, model.with_suffix(".yaml"), threads=2, precision=choice)


def packed(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.packed"))


def test_a_model_that_agrees_is_computed_in_bfloat16(model: Path, tmp_path: Path) -> None:
    engine = opened(model)
    assert (engine.precision, engine.terms) == ("bfloat16", 1)
    (file,) = packed(tmp_path)
    verdict = recorded_verdict(model, model.with_suffix(".yaml"), BESIDE_MODELS, "bfloat16")
    assert verdict.agrees
    exact = opened(model, "float32")
    assert (exact.precision, exact.terms) == ("float32", precision.float32_terms(exact.instruction_set))
    (other,) = {*packed(tmp_path)} - {file}
    assert file.stat().st_size < 0.6 * other.stat().st_size
    assert exact.fingerprint != engine.fingerprint, "stems of one precision are not reused for the other"


@pytest.mark.usefixtures("refused")
def test_a_model_that_does_not_agree_is_computed_in_float32(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        with structlog.testing.capture_logs() as logs:
            engine = opened(model)
        assert engine.precision == "float32"
        (line,) = [each for each in logs if each["event"] == "network.precision_refused"]
        assert (line["precision"], line["reason"], line["log_level"]) == ("bfloat16", FINDING, "warning")
        assert len([each for each in logs if each["event"] == "roformer.converted"]) == (0 if number else 2)
        assert len(packed(tmp_path)) == 2, "another machine may use the file for bfloat16"
        monkeypatch.setattr(self_check, "run_check", lambda _comparison: pytest.fail("it was checked again"))


@pytest.mark.usefixtures("refused")
def test_bfloat16_that_is_demanded_is_refused_with_what_was_found(model: Path) -> None:
    for number in range(2):
        with structlog.testing.capture_logs() as logs, pytest.raises(PermanentError) as refusal:
            opened(model, "bfloat16")
        assert refusal.value.message == (
            f"INFERENCE_PRECISION=bfloat16, but the kernels cannot compute own.ckpt in it: {FINDING}. Set it to auto "
            "or float32 (docs/devices.md)."
        )
        converted = [each for each in logs if each["event"] == "roformer.converted"]
        assert len(converted) == (0 if number else 1), "a retry does not convert it again"
    assert opened(model, "float32").precision == "float32"


def test_files_of_other_precisions_stay_as_long_as_the_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processors of several kinds may share the folder of models."""
    monkeypatch.setattr(checked_weights, "checked", lambda *_: Verdict(99.0))
    opened(model, "bfloat16")
    opened(model, "float32")
    files = packed(tmp_path)
    assert len(files) == 2
    opened(write_model(tmp_path, "other.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals"), "bfloat16")
    for file in files:
        os.utime(file, (file.stat().st_mtime - 365 * 86_400,) * 2)
    dates_s = [file.stat().st_mtime for file in files]
    for choice in ("float32", "bfloat16"):
        opened(model, choice)
    assert [file.stat().st_mtime for file in files] == dates_s, "they are used as they are"
    write_model(tmp_path, "own.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals")
    opened(model, "bfloat16")
    assert not {*files} & {*packed(tmp_path)}, "files of an older model go at once"
    assert len(packed(tmp_path)) == 2


def test_a_check_without_a_packed_file_is_not_counted(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_check_process(tmp_path / "check", monkeypatch)(
        f"from pathlib import Path\n[path.unlink() for path in Path({str(tmp_path)!r}).glob('.*.packed')]"
    )
    for _ in range(MAX_TRIES + 1):
        with pytest.raises(TransientError, match=r"own\.ckpt was replaced, or its packed file removed"):
            opened(model, "bfloat16")
    monkeypatch.undo()
    monkeypatch.setattr(precision, "has_bfloat16", lambda _instruction_set: True)
    assert opened(model, "bfloat16").precision == "bfloat16"


def test_bfloat16_asks_for_less_room_on_the_disk(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(packed_files, "bytes_free", lambda _folder: 0)
    for choice in ("bfloat16", "float32"):
        with pytest.raises(DiskFullError) as error:
            opened(model, choice)
        asked.append(int(error.value.message.split(" needs ")[1].split(" MiB")[0]))
    assert asked[0] < asked[1]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_spectrum_of_the_check_fits_every_network(geometry: str) -> None:
    shape, *_ = random_network(GEOMETRIES[geometry])
    spectrum = fixed_spectrum(shape)
    assert spectrum.shape[:2] == (shape.channels, shape.bins)
    assert spectrum.shape[2] * shape.stft_hop_length > shape.stft_n_fft // 2
    power = np.square(np.abs(spectrum)).sum(axis=(0, 2))
    assert 10 * np.log10(power.min() / power.max()) > -70
    assert spectrum.tobytes() == fixed_spectrum(shape).tobytes()


def test_the_check_finds_in_music_what_songs_have(shared_data: Path, tmp_path: Path) -> None:
    for file in (shared_data / "roformer").glob("tiny-bs-roformer.*"):
        shutil.copyfile(file, tmp_path / file.name)
    model = tmp_path / "tiny-bs-roformer.ckpt"
    exact, rounded = (opened(model, choice) for choice in ("float32", "bfloat16"))
    found_db = ReferenceComparison(model, model.with_suffix(".yaml"), 2, BESIDE_MODELS, terms=1)()
    spectrum = chunk_of(read_audio(shared_data / "music" / "rubidium" / "mixture.flac"), exact)
    masks = [np.ascontiguousarray(each._network.masks(spectrum)).view(np.float32) for each in (exact, rounded)]
    song_db = snr_db(masks[0], masks[0], masks[1])
    assert song_db > MIN_SNR_DB["bfloat16"] + 5
    assert abs(found_db - song_db) < 10


def chunk_of(song: np.ndarray, engine: RoformerEngine) -> np.ndarray:
    """The spectrum of a chunk from the middle of `song`, at the level of networks."""
    shape, frames = engine._shape, engine._network.frames
    start, samples = song.shape[1] // 2, shape.stft_hop_length * (frames - 1)
    chunk = song[:, start : start + samples] * np.float32(NETWORK_PEAK / np.abs(song).max())
    stft = Stft(n_fft=shape.stft_n_fft, hop_length=shape.stft_hop_length, dim_f=shape.bins, frames=frames)
    return joined(stft.forward(chunk))
