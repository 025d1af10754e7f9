"""A song is separated equally well at every level, and its stems add up to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import Samples, noise, read_audio, snr_db, write_audio
from tests.support.networks import HQ_4, PARAMETERS, write_network
from tests.support.song import separate_song
from uvr.models import store
from uvr.separation.mdx.engine import MdxEngine

PEAKS = (1.0, 0.5, 0.25, 0.02)
LARGEST_DIFFERENCE_DB = 0.05
LARGEST_REMAINDER_DBFS = -100

Song = dict[str, Samples]
"""The mixture and its true stems."""


@pytest.fixture(scope="module")
def trained(model_dir) -> tuple[MdxEngine, float]:
    path = store.ensure_model_file("Spleeter-2stems", model_dir)
    parameters = store.parameters_of(path)
    return MdxEngine(path, parameters), parameters.compensate


@pytest.fixture(scope="module")
def rubidium(shared_data) -> Song:
    """Ten seconds of the song: its levels do not depend on its length."""
    names = {"mixture": "mixture", "vocals": "vocals", "instrumental": "accompaniment"}
    folder = shared_data / "music" / "rubidium"
    return {stem: read_audio(folder / f"{name}.flac")[:, 441_000:882_000] for stem, name in names.items()}


@pytest.fixture(scope="module")
def biased(tmp_path_factory) -> tuple[MdxEngine, float]:
    """A network whose result depends on the level, as with trained networks."""
    path = write_network(tmp_path_factory.mktemp("model") / "biased.onnx", bias=0.3)
    return MdxEngine(path, PARAMETERS), PARAMETERS.compensate


@pytest.fixture(scope="module")
def made_song() -> Song:
    stems = {"vocals": noise(3, seed=1), "instrumental": noise(3, seed=2, peak=0.3)}
    return {"mixture": sum(stems.values()), **stems}


def at_peak(song: Song, peak: float) -> Song:
    factor = np.float32(peak / np.abs(song["mixture"]).max())
    return {name: sound * factor for name, sound in song.items()}


def separated(engine: MdxEngine, mixture: Samples, folder: Path) -> Song:
    folder.mkdir()
    source = write_audio(folder / "song.wav", mixture, codec="pcm_f32le")
    made = separate_song(engine, source, folder, max_seconds=60)
    return {name: read_audio(path) for name, path in made.stems.items()}


def spread_and_remainder(engine: MdxEngine, compensate: float, song: Song, folder: Path) -> tuple[float, float]:
    """The largest difference of SDRs between the four peaks, in dB, and the largest remainder, in dBFS.

    `compensate` belongs to a model whose primary stem is the vocals.
    """
    sdrs, remainders = [], []
    for peak in PEAKS:
        true = at_peak(song, peak)
        made = separated(engine, true["mixture"], folder / str(peak))
        remainder = true["mixture"] - compensate * made["vocals"] - made["instrumental"]
        remainders.append(20 * np.log10(np.abs(remainder).max() + 1e-30))
        sdrs.append([snr_db(true[stem], made[stem]) for stem in ("vocals", "instrumental")])
    return np.ptp(sdrs, axis=0).max(), max(remainders)


def test_a_real_song_has_the_same_sdr_at_every_level(rubidium, trained, tmp_path):
    spread_db, remainder_dbfs = spread_and_remainder(*trained, rubidium, tmp_path)
    assert spread_db <= LARGEST_DIFFERENCE_DB
    assert remainder_dbfs <= LARGEST_REMAINDER_DBFS


def test_a_made_song_has_the_same_sdr_at_every_level(biased, made_song, tmp_path):
    spread_db, remainder_dbfs = spread_and_remainder(*biased, made_song, tmp_path)
    assert spread_db <= LARGEST_DIFFERENCE_DB
    assert remainder_dbfs <= LARGEST_REMAINDER_DBFS


@pytest.mark.parametrize("peak", PEAKS)
def test_stems_of_an_instrumental_model_add_up_to_the_mixture(made_song, tmp_path, peak):
    engine = MdxEngine(write_network(tmp_path / "hq_4.onnx", parameters=HQ_4), HQ_4)
    mixture = at_peak(made_song, peak)["mixture"]
    made = separated(engine, mixture, tmp_path / "song")
    remainder = made["vocals"] + np.float32(HQ_4.compensate) * made["instrumental"] - mixture
    assert 20 * np.log10(np.abs(remainder).max() + 1e-30) <= LARGEST_REMAINDER_DBFS


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000, 192_000])
def test_stems_add_up_to_the_mixture_at_every_rate(biased, tmp_path, rate):
    """Frequencies that the network's rate cannot represent are in the secondary stem."""
    engine, compensate = biased
    mixture = noise(2, rate=rate, peak=0.7)
    source = write_audio(tmp_path / "song.wav", mixture, codec="pcm_f32le", rate=rate)
    made = separate_song(engine, source, tmp_path, max_seconds=60)
    stems = {name: read_audio(path) for name, path in made.stems.items()}
    remainder = compensate * stems["vocals"] + stems["instrumental"] - mixture
    assert 20 * np.log10(np.abs(remainder).max() + 1e-30) <= LARGEST_REMAINDER_DBFS
