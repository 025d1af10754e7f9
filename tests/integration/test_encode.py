"""WAV files as other programs read them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.audio import codec_of, noise, read_audio, snr_db
from uvr.audio.encode import WavWriter
from uvr.audio.format import AudioFormat, SampleFormat

BITS = [(SampleFormat.INT16, 16), (SampleFormat.INT24, 24), (SampleFormat.INT32, 32)]


def written(path, blocks, sample_format, *, rate=44100):
    with WavWriter(path, AudioFormat(rate, len(blocks[0]), sample_format)) as writer:
        for block in blocks:
            writer.write(block)
    return read_audio(path)


@pytest.mark.parametrize(("sample_format", "bits"), BITS)
def test_integer_samples_survive_to_the_bit(tmp_path, sample_format, bits):
    steps = np.random.default_rng(0).integers(-(2 ** (min(bits, 24) - 1)), 2 ** (min(bits, 24) - 1), (2, 5000))
    sound = (steps / 2 ** (min(bits, 24) - 1)).astype(np.float32)
    assert (written(tmp_path / "stem.wav", [sound], sample_format) == sound).all()
    assert codec_of(tmp_path / "stem.wav") == sample_format.value


def test_24_bit_files_hold_more_than_16_bits(tmp_path):
    sound = noise(1, peak=2**-14)
    assert snr_db(sound, written(tmp_path / "stem.wav", [sound], SampleFormat.INT24)) > 45
    assert snr_db(sound, written(tmp_path / "stem.wav", [sound], SampleFormat.INT16)) < 10


def test_floats_beyond_full_scale_are_kept(tmp_path):
    sound = noise(1, peak=3.0)
    assert (written(tmp_path / "stem.wav", [sound], SampleFormat.FLOAT32) == sound).all()
    assert codec_of(tmp_path / "stem.wav") == "pcm_f32le"


@pytest.mark.parametrize(("sample_format", "bits"), BITS)
def test_integers_saturate_instead_of_wrapping_round(tmp_path, sample_format, bits):
    samples = written(tmp_path / "stem.wav", [np.array([[1.5, -1.5, 1.0]], np.float32)], sample_format)
    assert samples.tolist() == [[pytest.approx(1 - 2.0 ** (1 - bits)), -1.0, pytest.approx(1 - 2.0 ** (1 - bits))]]


def test_blocks_of_any_size_follow_each_other(tmp_path):
    sound = noise(1, channels=1)
    blocks = [sound[:, :1], sound[:, 1:30_000], sound[:, 30_000:]]
    assert (written(tmp_path / "stem.wav", blocks, SampleFormat.FLOAT32, rate=22050) == sound).all()
