"""The whole engine on networks with a known result, so every promise can be checked to the sample."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import codec_of, noise, read_audio, snr_db, write_audio
from tests.support.networks import PARAMETERS, write_network
from tests.support.song import separate_song
from uvr.errors import CancelledError, DiskFullError, PermanentError
from uvr.separation.engine import Separation
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.spool import Spool


@pytest.fixture(scope="module")
def halving(tmp_path_factory) -> MdxEngine:
    """An engine whose "vocals" are half of the mixture."""
    return MdxEngine(write_network(tmp_path_factory.mktemp("model") / "half.onnx"), PARAMETERS, threads=1)


def separate(engine: MdxEngine, source: Path, output_dir: Path, **options) -> Separation:
    return separate_song(engine, source, output_dir, **({"max_seconds": 60} | options))


@pytest.mark.parametrize("seconds", [0.001, 0.3, 0.7195, 1.0, 5.0])
def test_primary_is_the_networks_estimate_and_both_stems_add_up_to_the_mixture(halving, tmp_path, seconds):
    sound = noise(seconds, peak=1.0)
    source = write_audio(tmp_path / "song.wav", sound, codec="pcm_f32le")
    made = separate(halving, source, tmp_path)
    vocals, instrumental = read_audio(made.stems["vocals"]), read_audio(made.stems["instrumental"])
    assert vocals.shape == instrumental.shape == sound.shape
    assert snr_db(sound, PARAMETERS.compensate * vocals + instrumental) > 120
    if seconds > 0.5:  # shorter noise has much of its energy in the lowest bins, which no network sees
        assert snr_db(sound / 2, vocals) > 20


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_have_the_format_of_the_source(halving, tmp_path, codec, rate, channels):
    sound = noise(1.2345, rate=rate, channels=channels)
    made = separate(halving, write_audio(tmp_path / "song.wav", sound, codec=codec, rate=rate), tmp_path)
    assert (made.sample_rate, made.channels, made.gain, made.provider) == (rate, channels, 1.0, "cpu")
    assert made.audio_s == pytest.approx(1.2345, abs=1e-4)
    assert set(made.stems) == {"vocals", "instrumental"}
    for path in made.stems.values():
        assert codec_of(path) == codec
        assert read_audio(path).shape == sound.shape
    vocals, instrumental = (read_audio(made.stems[name]) for name in ("vocals", "instrumental"))
    assert snr_db(sound, PARAMETERS.compensate * vocals + instrumental) > 75


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_a_song_of_one_sample_is_separated(halving, tmp_path, rate):
    source = write_audio(tmp_path / "song.wav", np.full((2, 1), 0.5, np.float32), codec="pcm_s16le", rate=rate)
    made = separate(halving, source, tmp_path)
    assert all(read_audio(path).shape == (2, 1) for path in made.stems.values())


def test_a_lossy_source_gives_16_bit_stems(halving, tmp_path):
    made = separate(halving, write_audio(tmp_path / "song.mp3", noise(1), codec="libmp3lame"), tmp_path)
    assert codec_of(made.stems["vocals"]) == "pcm_s16le"
    assert read_audio(made.stems["vocals"]).shape == (2, 44100)


@pytest.mark.parametrize("peak", [1e-6, 0.01, 0.25, 0.5, 4.0])
def test_the_result_does_not_depend_on_the_level_of_the_input(tmp_path, peak):
    """With a bias the network depends on the level, as real networks do."""
    engine = MdxEngine(write_network(tmp_path / "biased.onnx", bias=0.3), PARAMETERS)
    stems = {}
    for level in (1.0, peak):
        folder = tmp_path / str(level)
        folder.mkdir()
        made = separate(engine, write_audio(folder / "song.wav", noise(2, peak=1.0) * level, codec="pcm_f32le"), folder)
        stems[level] = {name: read_audio(path) / level for name, path in made.stems.items()}
    for name in ("vocals", "instrumental"):
        assert snr_db(stems[1.0][name], stems[peak][name]) > 110


def test_digital_silence_gives_silence_even_if_the_network_estimates_sound(tmp_path):
    engine = MdxEngine(write_network(tmp_path / "biased.onnx", bias=0.3), PARAMETERS)
    source = write_audio(tmp_path / "song.wav", np.zeros((2, 44100), np.float32), codec="pcm_s16le")
    made = separate(engine, source, tmp_path)
    assert not any(read_audio(path).any() for path in made.stems.values())
    assert made.gain == 1.0


def test_stems_that_would_clip_share_one_gain_which_is_reported(tmp_path):
    """With three times the mixture as vocals, the instrumental is -2.15 times the mixture."""
    engine = MdxEngine(write_network(tmp_path / "loud.onnx", factor=3.0), PARAMETERS)
    sound = noise(2, peak=0.9)
    made = separate(engine, write_audio(tmp_path / "song.wav", sound, codec="pcm_s16le"), tmp_path)
    vocals, instrumental = (read_audio(made.stems[name]) for name in ("vocals", "instrumental"))
    assert made.gain == pytest.approx(1 / 2.7, rel=0.1)
    assert np.abs(vocals).max() == pytest.approx(1.0, abs=1e-4)
    assert snr_db(sound * made.gain, PARAMETERS.compensate * vocals + instrumental) > 70


def test_a_float_source_needs_no_gain(tmp_path):
    engine = MdxEngine(write_network(tmp_path / "loud.onnx", factor=3.0), PARAMETERS)
    made = separate(engine, write_audio(tmp_path / "song.wav", noise(1, peak=0.9), codec="pcm_f32le"), tmp_path)
    assert made.gain == 1.0
    assert np.abs(read_audio(made.stems["vocals"])).max() > 2


@pytest.mark.parametrize(
    ("primary_stem", "names"),
    [
        ("Drums", {"drums", "no_drums"}),
        ("Lead-Vocals", {"lead_vocals", "no_lead_vocals"}),
        ("../Drums", {"drums", "no_drums"}),
    ],
)
def test_stems_are_named_after_the_models_primary_stem(tmp_path, primary_stem, names):
    engine = MdxEngine(write_network(tmp_path / "own.onnx"), replace(PARAMETERS, primary_stem=primary_stem))
    (tmp_path / "stems").mkdir()
    source = write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le")
    made = separate(engine, source, tmp_path / "stems")
    assert {path.name for path in (tmp_path / "stems").iterdir()} == {f"{name}.wav" for name in names}
    assert made.stems.keys() == names


def test_progress_grows_to_one_with_a_step_for_each_segment(halving, tmp_path):
    shares: list[float] = []
    source = write_audio(tmp_path / "song.wav", noise(5), codec="pcm_s16le")
    separate(halving, source, tmp_path, on_progress=shares.append)
    segments = -(-(5 * 44100 + 1024) // int(0.75 * 1024 * 31))
    assert len(shares) >= segments
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1.0


@pytest.mark.parametrize("answers_before", [0, 3, 8, 12])
def test_a_cancelled_separation_ends_and_leaves_nothing(halving, tmp_path, answers_before):
    source = write_audio(tmp_path / "song.wav", noise(5), codec="pcm_s16le")
    answers = iter([False] * answers_before)
    with pytest.raises(CancelledError):
        separate(halving, source, tmp_path, cancelled=lambda: next(answers, True))
    assert list(tmp_path.iterdir()) == [source]


def test_a_source_that_turns_out_too_long_leaves_nothing(halving, tmp_path):
    source = write_audio(tmp_path / "song.wav", noise(5), codec="pcm_s16le")
    with pytest.raises(PermanentError, match="longer than 3 seconds"):
        separate(halving, source, tmp_path, max_seconds=3)
    assert list(tmp_path.iterdir()) == [source]


def test_a_full_disk_is_reported_as_such_and_leaves_nothing(halving, tmp_path, monkeypatch):
    def no_room(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le")
    monkeypatch.setattr(Spool, "of", no_room)
    with pytest.raises(DiskFullError, match="disk is full"):
        separate(halving, source, tmp_path)
    assert list(tmp_path.iterdir()) == [source]


def test_one_engine_separates_one_song_after_another(halving, tmp_path):
    source = write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le")
    halving.warm_up()
    first, second = (separate(halving, source, tmp_path).stems["vocals"].read_bytes() for _ in range(2))
    assert first == second


def test_a_file_that_is_not_a_network_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(PermanentError, match=r"model\.onnx cannot be loaded"):
        MdxEngine(tmp_path / "model.onnx", PARAMETERS)


def test_a_network_of_another_shape_is_refused_at_once(tmp_path):
    with pytest.raises(PermanentError, match="does not match its parameters"):
        MdxEngine(write_network(tmp_path / "model.onnx"), replace(PARAMETERS, dim_t=256))
