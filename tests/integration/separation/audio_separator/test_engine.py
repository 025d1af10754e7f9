"""The engine on the real audio-separator with real models, in the environment of `make setup-library`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.audio import Samples, chord, codec_of, noise, read_audio, snr_db, write_audio
from uvr.models.files import tail_md5
from uvr.models.stems import stems_of_model

ROOT = Path(__file__).resolve().parents[4]
MODEL = "UVR-DeNoise-Lite"

pytestmark = pytest.mark.timeout(600)


class Library:
    """Runs songs through one warm audio-separator."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder

    def separate(self, model: str, model_dir: Path, songs: dict[str, Path], engine: str = "auto") -> dict[str, Any]:
        """Song name -> what came of it (see tests.support.audio_separator_songs)."""
        program = [self._python, "-m", "tests.support.audio_separator_songs"]
        arguments = [model, model_dir, engine, self._folder, *songs.values()]
        # With a proxy that does not exist, every network request fails.
        offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "PATH": "/nonexistent"}
        # torch compiles its kernels at each start, which takes longer for AVX-512 than all songs together.
        quick = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
        done = subprocess.run(
            [*program, *arguments],
            cwd=ROOT,
            env=os.environ | offline | quick,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(zip(songs, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def denoised(
    audio_separator_python: Path, denoise_model: str, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """All songs for the VR model, separated by one process, because its start takes most of the time."""
    folder = tmp_path_factory.mktemp("library")
    tone = chord(2.5, rate=48000, channels=1)
    hiss = np.random.default_rng(0).normal(0, 0.005, tone.shape).astype(np.float32)
    write_audio(folder / "loud.wav", tone + hiss, codec="pcm_f32le", rate=48000)
    write_audio(folder / "quiet.wav", (tone + hiss) / 64, codec="pcm_f32le", rate=48000)
    write_audio(folder / "short.flac", noise(0.01), codec="flac")
    write_audio(folder / "silent.wav", np.zeros((2, 12345), np.float32), codec="pcm_s16le")
    (folder / "text.wav").write_text("no audio at all", encoding="utf-8")
    songs = {name: folder / name for name in ("loud.wav", "quiet.wav", "short.flac", "silent.wav", "text.wav")}
    outcomes = Library(audio_separator_python, folder / "stems").separate(denoise_model, model_dir, songs)
    return {"tone": tone, "hiss": hiss, "model_dir": model_dir, **outcomes}


def stem(outcome: dict[str, Any], name: str) -> Samples:
    return read_audio(Path(outcome["stems"][name]))


def test_a_vr_model_takes_noise_out_of_a_song(denoised):
    cleaned = stem(denoised["loud.wav"], "no_noise")
    before = snr_db(denoised["tone"], denoised["tone"] + denoised["hiss"])
    assert snr_db(denoised["tone"], cleaned) > before + 0.3


def test_stems_have_the_songs_rate_channels_length_and_format(denoised):
    outcome = denoised["loud.wav"]
    assert outcome["left"] == ["no_noise.wav", "noise.wav"]
    assert stems_of_model(MODEL, denoised["model_dir"]) == ("noise", "no_noise")
    assert (outcome["sample_rate"], outcome["channels"], outcome["provider"]) == (48000, 1, "cpu")
    for name in ("noise", "no_noise"):
        assert stem(outcome, name).shape == denoised["tone"].shape
        assert codec_of(Path(outcome["stems"][name])) == "pcm_f32le"


def test_the_stems_of_a_vr_model_add_up_to_the_song(denoised):
    outcome = denoised["loud.wav"]
    together = stem(outcome, "noise") + stem(outcome, "no_noise")
    # The difference is the hiss above 22 kHz, which the network's sample rate cannot represent.
    assert snr_db(denoised["tone"] + denoised["hiss"], together) > 35


def test_the_level_of_a_song_does_not_change_the_result_of_a_vr_model(denoised):
    for name in ("noise", "no_noise"):
        assert snr_db(stem(denoised["loud.wav"], name), stem(denoised["quiet.wav"], name) * 64) > 80


def test_progress_grows_while_the_network_runs(denoised):
    shares = denoised["loud.wav"]["shares"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert sum(0.02 < share < 0.98 for share in shares) >= 2


def test_a_song_shorter_than_a_frame_is_separated(denoised):
    assert stem(denoised["short.flac"], "no_noise").shape == (2, 441)


def test_silence_gives_silent_stems_of_the_same_length(denoised):
    for name in ("noise", "no_noise"):
        silence = stem(denoised["silent.wav"], name)
        assert silence.shape == (2, 12345)
        assert not silence.any()


def test_a_file_that_is_no_audio_is_refused_and_leaves_nothing(denoised):
    assert denoised["text.wav"]["error"] == "PermanentError"
    assert not denoised["text.wav"]["left"]


@pytest.fixture(scope="module")
def by_audio_separator(
    audio_separator_python: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The songs of the parity data through audio-separator, one of them also at a quarter of its level."""
    folder = tmp_path_factory.mktemp("parity")
    parity = shared_data / "parity"
    shutil.copy(parity / "tiny-mdx-hq4.onnx", folder)
    parameters = json.loads((parity / "mdx_model_data.json").read_text(encoding="utf-8"))
    described = parameters[tail_md5(folder / "tiny-mdx-hq4.onnx")]
    (folder / "tiny-mdx-hq4.onnx.json").write_text(json.dumps(described), encoding="utf-8")
    write_audio(folder / "quiet.wav", read_audio(parity / "short.wav") / 4, codec="pcm_f32le")
    songs = {case: parity / f"{case}.wav" for case in ("full", "one_chunk", "short")} | {"quiet": folder / "quiet.wav"}
    return Library(audio_separator_python, folder / "stems").separate("tiny-mdx-hq4", folder, songs, "audio-separator")


@pytest.mark.parametrize("case", ["full", "one_chunk", "short"])
@pytest.mark.parametrize("name", ["vocals", "instrumental"])
def test_an_mdx_model_gives_the_recorded_stems_at_full_level(by_audio_separator, shared_data, case, name):
    with np.load(shared_data / "parity" / f"{case}.audio_separator.npz") as reference:
        theirs = reference[name].T
    ours = stem(by_audio_separator[case], name) * np.float32(0.9)
    assert ours.shape == theirs.shape
    assert snr_db(theirs, ours) > 120


@pytest.mark.parametrize("name", ["vocals", "instrumental"])
def test_an_mdx_model_gives_the_same_at_a_quarter_of_the_level(by_audio_separator, name):
    loud, quiet = (stem(by_audio_separator[case], name) for case in ("short", "quiet"))
    assert snr_db(loud, quiet * 4) > 120
