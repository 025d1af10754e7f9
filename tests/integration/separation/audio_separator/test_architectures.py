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
    "own_target_other.ckpt": {"vocals", "instrumental"},
    "own_mdx23c.ckpt": {"vocals", "instrumental"},
    "own_odd_names.ckpt": {"lead_vocals", "lead_vocals_2", "drums", "stem"},
    "own_demucs.yaml": FOUR_STEMS,
    "own_demucs_6.yaml": FOUR_STEMS | {"guitar", "piano"},
}
ENSEMBLE = "own_mel_band_roformer.ckpt+own_4_stems.ckpt"
WITH_A_REMAINDER = {"own_bs_roformer.ckpt", "own_4_stems.ckpt", "own_target_other.ckpt"}
WITH_A_REMAINDER |= {"own_demucs.yaml", "own_demucs_6.yaml"}
"""Their instrumental is what the vocals leave. The estimates of the others are independent, and random here."""


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


@pytest.mark.parametrize("model", sorted(WITH_A_REMAINDER))
def test_vocals_and_instrumental_add_up_to_the_song(outcomes: dict[str, Any], model: str) -> None:
    outcome = outcomes[model][0]
    added = (stem(outcome, "vocals") + stem(outcome, "instrumental")) / outcome["gain"]
    assert snr_db(outcomes["song"], added) > 90


@pytest.mark.parametrize("model", STEMS)
def test_stems_add_up_to_the_song_or_their_facts_say_by_how_much_they_do_not(
    outcomes: dict[str, Any], model: str
) -> None:
    outcome = outcomes[model][0]
    if model in {"own_bs_roformer.ckpt", "own_target_other.ckpt"}:
        assert "sum_error_db" not in outcome
        return
    own = STEMS[model] - {"instrumental"} if len(STEMS[model]) > 2 else STEMS[model]
    added = sum(stem(outcome, name) for name in own) / outcome["gain"]
    assert outcome["sum_error_db"] == pytest.approx(-snr_db(outcomes["song"], added), abs=0.1)
    assert any("do not add up" in note for note in outcome["notes"])


@pytest.mark.parametrize("model", [*STEMS, ENSEMBLE])
def test_a_stem_that_is_wanted_alone_has_the_same_bytes_as_with_all_others(
    outcomes: dict[str, Any], model: str
) -> None:
    for outcome in outcomes[model]:
        ((name, file),) = outcome["wanted"].items()
        assert [path.name for path in Path(file).parent.iterdir()] == [f"{name}.wav"]
        assert Path(file).read_bytes() == Path(outcome["stems"][name]).read_bytes()


def test_two_architectures_together_give_the_mean_of_what_both_give(outcomes: dict[str, Any]) -> None:
    both, each = outcomes[ENSEMBLE][0], [outcomes[model][0] for model in ENSEMBLE.split("+")]
    assert both["stems"].keys() == {"vocals", "instrumental"}
    for name in both["stems"]:
        mean = sum(stem(outcome, name) / outcome["gain"] for outcome in each) / 2
        assert snr_db(mean, stem(both, name) / both["gain"]) > 120
