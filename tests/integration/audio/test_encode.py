"""Encoded stems, read back by another program (FFmpeg)."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.audio import chord, codec_of, noise, read_audio, snr_db
from uvr.audio.encode import AudioWriter, encoding_for
from uvr.audio.format import AudioFormat, SampleFormat
from uvr.audio.output_format import OutputFormat

BITS = [(SampleFormat.INT16, 16), (SampleFormat.INT24, 24), (SampleFormat.INT32, 32)]
LOSSY = [OutputFormat.MP3, OutputFormat.M4A, OutputFormat.OGG, OutputFormat.OPUS]
# How many more samples a player may get than were written: FFmpeg does not cut the last frame of an m4a file to the
# declared length, and files shorter than LAME's look-ahead contain it.
MAX_EXTRA_SAMPLES = {OutputFormat.MP3: 46, OutputFormat.M4A: 1023, OutputFormat.OGG: 0, OutputFormat.OPUS: 0}


def written(path, blocks, sample_format=SampleFormat.FLOAT32, output_format=OutputFormat.WAV, *, rate=44100):
    """The samples that are read back after `blocks` were written to `path`."""
    encoding = encoding_for(AudioFormat(rate, len(blocks[0]), sample_format), output_format)
    with AudioWriter(path, encoding) as writer:
        for block in blocks:
            writer.write(block)
    return read_audio(path)


@pytest.mark.parametrize(("sample_format", "bits"), BITS)
def test_integer_samples_are_written_exactly(tmp_path, sample_format, bits):
    steps = np.random.default_rng(0).integers(-(2 ** (min(bits, 24) - 1)), 2 ** (min(bits, 24) - 1), (2, 5000))
    sound = (steps / 2 ** (min(bits, 24) - 1)).astype(np.float32)
    assert (written(tmp_path / "stem.wav", [sound], sample_format) == sound).all()
    assert codec_of(tmp_path / "stem.wav") == sample_format.value


@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.FLAC])
def test_24_bit_files_are_more_precise_than_16_bit_files(tmp_path, output_format):
    sound = noise(1, peak=2**-14)
    path = tmp_path / f"stem{output_format.suffix}"
    assert snr_db(sound, written(path, [sound], SampleFormat.INT24, output_format)) > 45
    assert snr_db(sound, written(path, [sound], SampleFormat.INT16, output_format)) < 10


def test_floats_beyond_full_scale_are_kept(tmp_path):
    sound = noise(1, peak=3.0)
    assert (written(tmp_path / "stem.wav", [sound], SampleFormat.FLOAT32) == sound).all()
    assert codec_of(tmp_path / "stem.wav") == "pcm_f32le"


@pytest.mark.parametrize(("sample_format", "bits"), BITS)
def test_integers_saturate_instead_of_wrapping_around(tmp_path, sample_format, bits):
    samples = written(tmp_path / "stem.wav", [np.array([[1.5, -1.5, 1.0]], np.float32)], sample_format)
    assert samples.tolist() == [[pytest.approx(1 - 2.0 ** (1 - bits)), -1.0, pytest.approx(1 - 2.0 ** (1 - bits))]]


@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.FLAC])
def test_blocks_may_have_any_size(tmp_path, output_format):
    steps = np.random.default_rng(1).integers(-(2**23), 2**23, (1, 100_000))
    sound = (steps / 2**23).astype(np.float32)
    blocks = [sound[:, start:stop] for start, stop in pairwise([0, 1, 4609, 30_000, 100_000])]
    path = tmp_path / f"stem{output_format.suffix}"
    assert (written(path, blocks, SampleFormat.INT24, output_format, rate=22050) == sound).all()


@pytest.mark.parametrize(
    ("sample_format", "bits"), [*BITS[:2], (SampleFormat.INT32, 24), (SampleFormat.FLOAT32, 24)], ids=str
)
def test_flac_files_have_16_bits_or_24(tmp_path, sample_format, bits):
    steps = np.random.default_rng(2).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2, 10_000))
    sound = (steps / 2 ** (bits - 1)).astype(np.float32)
    assert (written(tmp_path / "stem.flac", [sound], sample_format, OutputFormat.FLAC) == sound).all()
    with av.open(str(tmp_path / "stem.flac")) as container:
        assert container.streams.audio[0].codec_context.format.name == {16: "s16", 24: "s32"}[bits]


@pytest.mark.parametrize("output_format", LOSSY)
@pytest.mark.parametrize("samples", [1, 1000, 48_000, 123_457])
def test_lossy_files_play_from_the_first_sample_to_the_last(tmp_path, output_format, samples):
    path = tmp_path / f"stem{output_format.suffix}"
    played = written(path, [noise(3, rate=48000)[:, :samples]], output_format=output_format, rate=48000)
    assert samples <= played.shape[1] <= samples + MAX_EXTRA_SAMPLES[output_format]


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_m4a_files_declare_their_length_to_the_sample(tmp_path, rate):
    written(tmp_path / "stem.m4a", [noise(3, rate=rate)[:, :12_345]], output_format=OutputFormat.M4A, rate=rate)
    with av.open(str(tmp_path / "stem.m4a")) as container:
        stream = container.streams.audio[0]
        assert stream.duration * stream.time_base * rate == 12_345


@pytest.mark.parametrize("output_format", LOSSY)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_files_keep_position_and_level(tmp_path, output_format, channels):
    """Shifted by one sample, this sound has an SNR of 19 dB, and 26 dB if it is 5 % quieter."""
    sound = chord(2, rate=48000, channels=channels)
    blocks = [sound[:, :50_000], sound[:, 50_000:]]
    played = written(tmp_path / f"stem{output_format.suffix}", blocks, output_format=output_format, rate=48000)
    assert snr_db(sound, played[:, : sound.shape[1]]) > 33


@pytest.mark.parametrize("output_format", [OutputFormat.MP3, OutputFormat.M4A])
@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100])
def test_lossy_files_of_any_rate_keep_the_level(tmp_path, output_format, rate):
    sound = chord(2, rate=rate)
    played = written(tmp_path / f"stem{output_format.suffix}", [sound], output_format=output_format, rate=rate)
    assert (played[:, : sound.shape[1]] * sound).sum() / (sound**2).sum() == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 96000, 192_000])
@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.FLAC])
def test_lossless_files_accept_any_rate(tmp_path, output_format, rate):
    path = tmp_path / f"stem{output_format.suffix}"
    assert written(path, [noise(0.5, rate=rate)], SampleFormat.INT16, output_format, rate=rate).shape == (2, rate // 2)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].rate == rate


@pytest.mark.parametrize(
    ("output_format", "rates"),
    [
        (OutputFormat.MP3, {4000: 8000, 8000: 8000, 37_800: 44100, 44100: 44100, 48000: 48000, 192_000: 48000}),
        (OutputFormat.M4A, {8000: 8000, 50_000: 64_000, 96000: 96000, 192_000: 96000}),
        (OutputFormat.OGG, {8000: 48000, 24000: 48000, 44100: 48000, 48000: 48000, 96000: 48000}),
    ],
)
def test_a_rate_that_a_lossy_format_lacks_is_replaced_by_the_next_higher_one(output_format, rates):
    for song_hz, file_hz in rates.items():
        song = AudioFormat(song_hz, 2, SampleFormat.INT16)
        assert encoding_for(song, output_format).sample_rate == file_hz


@pytest.mark.parametrize("output_format", LOSSY)
def test_every_chosen_rate_can_be_written(tmp_path, output_format):
    songs = [AudioFormat(hz, 1, SampleFormat.INT16) for hz in range(4000, 100_000, 50)]
    for rate in {encoding_for(song, output_format).sample_rate for song in songs}:
        path = tmp_path / f"{rate}{output_format.suffix}"
        written(path, [noise(0.2, rate=rate, channels=1)], output_format=output_format, rate=rate)
        with av.open(str(path)) as container:
            assert container.streams.audio[0].rate == rate


@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.FLAC, OutputFormat.MP3, OutputFormat.OGG])
def test_a_full_disk_is_reported_as_such(output_format):
    encoding = encoding_for(AudioFormat(48000, 2, SampleFormat.INT16), output_format)
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        AudioWriter(Path("/dev/full"), encoding) as writer,
    ):
        writer.write(noise(3, rate=48000))
    assert caught.value.errno == errno.ENOSPC
