"""Signals that are unusual for music but occur in files: correct stems, or a refusal with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import Samples, encoded, noise, read_audio, snr_db, write_audio
from tests.support.networks import PARAMETERS, write_network
from tests.support.song import separate_song
from uvr.errors import PermanentError
from uvr.separation.mdx.engine import MdxEngine

SILENT_FORMATS = {
    ".wav": {"codec": "pcm_s16le"},
    ".flac": {"codec": "flac"},
    ".mp3": {"codec": "libmp3lame"},
    ".m4a": {"codec": "aac"},
    ".ogg": {"codec": "vorbis", "strict": "experimental"},
    ".opus": {"codec": "libopus", "rate": 48000},
}
SEGMENT = PARAMETERS.hop_length * (PARAMETERS.dim_t - 1)
STEP = int(0.75 * SEGMENT)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> MdxEngine:
    """An engine whose network estimates sound even in silence."""
    return MdxEngine(write_network(tmp_path_factory.mktemp("model") / "biased.onnx", bias=0.3), PARAMETERS)


def stems_of(engine: MdxEngine, sound: Samples, folder: Path, codec: str = "pcm_f32le", rate: int = 44100):
    source = write_audio(folder / "song.wav", sound, codec=codec, rate=rate)
    made = separate_song(engine, source, folder, max_seconds=60)
    return read_audio(made.stems["vocals"]), read_audio(made.stems["instrumental"])


def sum_of(vocals: Samples, instrumental: Samples) -> Samples:
    return PARAMETERS.compensate * vocals + instrumental


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
@pytest.mark.parametrize("rate", [8000, 44100, 192000])
@pytest.mark.parametrize("channels", [1, 2])
def test_silence_gives_silent_stems(engine, tmp_path, codec, rate, channels):
    silence = np.zeros((channels, rate), np.float32)
    for stem in stems_of(engine, silence, tmp_path, codec, rate):
        assert stem.shape == silence.shape
        assert not stem.any()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"])
def test_silence_in_every_format_needs_no_network(halving, tmp_path, monkeypatch, suffix):
    """An hour of silence must not cost an hour's separation."""

    def refuse(_spectrum):
        raise AssertionError("the network was used")

    monkeypatch.setattr(halving._network, "run", refuse)
    source = tmp_path / f"silence{suffix}"
    source.write_bytes(encoded(np.zeros((2, 5 * 48_000), np.float32), suffix, **SILENT_FORMATS[suffix]))
    made = separate_song(halving, source, tmp_path, max_seconds=60)
    assert not any(read_audio(path).any() for path in made.stems.values())


def test_the_network_is_used_for_the_segments_with_sound_only(halving, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(halving._network, "run", lambda spectrum: runs.append(1) or spectrum)
    sound = np.zeros((2, 40 * SEGMENT), np.float32)
    sound[:, 20 * SEGMENT] = 0.5
    stems_of(halving, sound, tmp_path)
    assert 1 <= len(runs) <= 2


def test_a_silent_channel_keeps_the_networks_estimate(halving, tmp_path):
    sound = noise(1)
    sound[1] = 0
    vocals, instrumental = stems_of(halving, sound, tmp_path)
    assert not vocals[1].any()
    assert not instrumental[1].any()
    assert snr_db(sound[0] / 2, vocals[0]) > 20


def test_silence_around_a_sound_stays_silent(halving, tmp_path):
    sound = np.zeros((2, 6 * SEGMENT), np.float32)
    sound[:, 3 * SEGMENT : 4 * SEGMENT] = noise(SEGMENT / 44100)
    vocals, instrumental = stems_of(halving, sound, tmp_path)
    for stem in (vocals, instrumental):
        assert not stem[:, : 2 * SEGMENT - STEP].any()
        assert not stem[:, 5 * SEGMENT :].any()
    assert snr_db(sound, sum_of(vocals, instrumental)) > 120


@pytest.mark.parametrize("level", [1.0, -0.5, 0.01])
def test_a_constant_offset_is_in_the_secondary_stem(halving, tmp_path, level):
    """The lowest three bins are zeroed, as they were in training; only the edges of the song are shares."""
    constant = np.full((2, 3 * SEGMENT), level, np.float32)
    vocals, instrumental = stems_of(halving, constant, tmp_path)
    inside = slice(SEGMENT, 2 * SEGMENT)
    assert np.abs(vocals[:, inside]).max() <= 1e-5 * abs(level)
    assert snr_db(constant, sum_of(vocals, instrumental)) > 120


@pytest.mark.parametrize(
    "samples", [1, 2, 3, 1023, 1025, 2047, STEP - 1024, STEP - 1023, SEGMENT - 1, SEGMENT, SEGMENT + 1, 44_101]
)
def test_every_length_is_kept_to_the_sample(halving, tmp_path, samples):
    sound = np.random.default_rng(samples).uniform(-1, 1, (2, samples)).astype(np.float32)
    vocals, instrumental = stems_of(halving, sound, tmp_path)
    assert vocals.shape == instrumental.shape == sound.shape
    assert snr_db(sound, sum_of(vocals, instrumental)) > 120


@pytest.mark.parametrize("rate", [8000, 11025, 48000, 192000])
@pytest.mark.parametrize("samples", [1, 7, 1021])
def test_odd_lengths_are_kept_at_every_rate(halving, tmp_path, rate, samples):
    sound = noise(samples / rate, rate=rate) if samples > 100 else np.full((2, samples), 0.5, np.float32)
    for stem in stems_of(halving, sound, tmp_path, "pcm_s16le", rate):
        assert stem.shape == sound.shape
        assert np.isfinite(stem).all()


@pytest.mark.parametrize("peak", [1e-30, 1e-20, 1e4])
def test_levels_far_from_music_are_kept(halving, tmp_path, peak):
    sound = noise(1, peak=1.0) * np.float32(peak)
    vocals, instrumental = stems_of(halving, sound, tmp_path)
    assert snr_db(sound / np.float32(peak), sum_of(vocals, instrumental) / np.float32(peak)) > 100


def test_samples_too_small_to_scale_give_finite_stems(engine, tmp_path):
    for stem in stems_of(engine, noise(1, peak=1.0) * np.float32(1e-38), tmp_path):
        assert np.abs(stem).max() < 1e-29


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 40_000, -1])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_samples_that_are_not_finite_are_refused_and_leave_nothing(halving, tmp_path, fault, position, rate):
    sound = noise(1, rate=rate)
    sound[1, position] = fault
    with pytest.raises(PermanentError, match=r"samples that are not numbers \(NaN or infinite\); export it again"):
        stems_of(halving, sound, tmp_path, rate=rate)
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]
