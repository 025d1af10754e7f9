"""Every architecture that audio-separator runs, as a model that it does not know, put into the folder by hand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.audio import Samples, chord, codec_of, read_audio, snr_db, write_audio
from uvr.models.stems import stems_of_model

ROOT = Path(__file__).resolve().parents[4]
QUIETER = 64

pytestmark = pytest.mark.timeout(600)

FOUR_STEMS = {"drums", "bass", "other", "vocals", "instrumental"}
STEMS = {
    "own_bs_roformer.ckpt": {"vocals", "instrumental"},
    "own_4_stems.ckpt": FOUR_STEMS,
    "own_mel_band_roformer.ckpt": {"vocals", "instrumental"},
    "own_mdx23c.ckpt": {"vocals", "instrumental"},
    "own_demucs.yaml": FOUR_STEMS,
    "own_demucs_6.yaml": FOUR_STEMS | {"guitar", "piano"},
}
ESTIMATING_BOTH = {"own_mel_band_roformer.ckpt", "own_mdx23c.ckpt"}
"""Their two estimates are independent of each other, and random here."""


@pytest.fixture(scope="module")
def outcomes(audio_separator_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Model -> outcomes for a loud and a quiet song, as tests.support.random_checkpoints prints them."""
    folder = tmp_path_factory.mktemp("architectures")
    song = chord(2.5, rate=48000, channels=2) * np.float32(0.5)
    write_audio(folder / "loud.wav", song, codec="pcm_f32le", rate=48000)
    write_audio(folder / "quiet.wav", song / QUIETER, codec="pcm_f32le", rate=48000)
    program = [audio_separator_python, "-m", "tests.support.random_checkpoints"]
    # With a proxy that does not exist, every network request fails.
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*program, folder, folder / "loud.wav", folder / "quiet.wav"],
        cwd=ROOT,
        env=os.environ | offline,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {"song": song, "folder": folder, **json.loads(done.stdout)}


def stem(outcome: dict[str, Any], name: str) -> Samples:
    return read_audio(Path(outcome["stems"][name]))


@pytest.mark.parametrize("model", STEMS)
def test_a_model_under_its_own_name_gives_its_stems(outcomes: dict[str, Any], model: str) -> None:
    for outcome in outcomes[model]:
        assert outcome["stems"].keys() == STEMS[model]


@pytest.mark.parametrize("model", STEMS)
def test_its_stems_are_known_without_loading_it(outcomes: dict[str, Any], model: str) -> None:
    stems = stems_of_model(model, outcomes["folder"])
    assert len(stems) == len(STEMS[model])
    assert set(stems) == STEMS[model]


@pytest.mark.parametrize("model", STEMS)
def test_stems_have_the_songs_rate_channels_length_and_format(outcomes: dict[str, Any], model: str) -> None:
    outcome = outcomes[model][0]
    assert (outcome["sample_rate"], outcome["channels"], outcome["provider"]) == (48000, 2, "cpu")
    for name, file in outcome["stems"].items():
        assert stem(outcome, name).shape == outcomes["song"].shape
        assert codec_of(Path(file)) == "pcm_f32le"


@pytest.mark.parametrize("model", STEMS)
def test_a_quieter_song_gives_the_same_stems_at_its_level(outcomes: dict[str, Any], model: str) -> None:
    loud, quiet = outcomes[model]
    for name in STEMS[model]:
        assert snr_db(stem(loud, name) / loud["gain"], stem(quiet, name) * QUIETER / quiet["gain"]) > 90


@pytest.mark.parametrize("model", sorted(STEMS.keys() - ESTIMATING_BOTH))
def test_vocals_and_instrumental_add_up_to_the_song(outcomes: dict[str, Any], model: str) -> None:
    outcome = outcomes[model][0]
    added = (stem(outcome, "vocals") + stem(outcome, "instrumental")) / outcome["gain"]
    assert snr_db(outcomes["song"], added) > 90
