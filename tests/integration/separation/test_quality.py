"""Real music and real weights: the stems are vocals and instrumental, at any level of the input.

Plain SDR against the true stems of two CC0 songs; the limits lie 0.2 to 0.5 dB below what the weights reach.
"""

from __future__ import annotations

import pytest

from tests.support.audio import chord, read_audio, snr_db, write_audio
from tests.support.song import separate_song
from uvr.models import store
from uvr.models.stems import stems_of_model
from uvr.separation.mdx.engine import MdxEngine

LIMITS_DB = [("rubidium", 6.7, 22.5), ("potassium", 7.6, 21.0)]


@pytest.fixture(scope="module")
def engine(model_dir) -> MdxEngine:
    path = store.ensure_model_file("Spleeter-2stems", model_dir)
    return MdxEngine(path, store.parameters_of(path))


def stems_of(engine, source, folder):
    made = separate_song(engine, source, folder, max_seconds=60)
    return read_audio(made.stems["vocals"]), read_audio(made.stems["instrumental"])


@pytest.mark.parametrize(("song", "vocals_db", "instrumental_db"), LIMITS_DB)
def test_stems_are_close_to_the_true_stems(engine, shared_data, tmp_path, song, vocals_db, instrumental_db):
    folder = shared_data / "music" / song
    vocals, instrumental = stems_of(engine, folder / "mixture.flac", tmp_path)
    assert snr_db(read_audio(folder / "vocals.flac"), vocals) >= vocals_db
    assert snr_db(read_audio(folder / "accompaniment.flac"), instrumental) >= instrumental_db


def test_the_stems_of_the_engine_are_those_that_are_known_in_advance(engine, model_dir, tmp_path):
    song = write_audio(tmp_path / "song.wav", chord(1.0, channels=2), codec="pcm_f32le")
    made = separate_song(engine, song, tmp_path, max_seconds=60)
    assert tuple(made.stems) == stems_of_model("Spleeter-2stems", model_dir) == ("vocals", "instrumental")


@pytest.mark.parametrize("level", [0.5, 0.05])
def test_a_quiet_copy_is_separated_equally_well(engine, shared_data, tmp_path, level):
    folder = shared_data / "music" / "rubidium"
    quiet = write_audio(tmp_path / "quiet.wav", read_audio(folder / "mixture.flac") * level, codec="pcm_f32le")
    vocals, instrumental = stems_of(engine, quiet, tmp_path)
    assert snr_db(read_audio(folder / "vocals.flac") * level, vocals) >= 6.7
    assert snr_db(read_audio(folder / "accompaniment.flac") * level, instrumental) >= 22.5
