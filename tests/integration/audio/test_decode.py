"""Decoding real files of every kind: the samples, or the message with which a file is refused."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.audio import mux_audio, noise, read_audio, snr_db, write_audio
from tests.support.corpus import MAGICS
from tests.support.treacherous_media import playlists
from uvr.audio.decode import AudioReader
from uvr.audio.format import AudioFormat, SampleFormat
from uvr.errors import PermanentError


def decoded(path: Path, *, max_seconds: float = 60) -> tuple[AudioFormat, np.ndarray]:
    with AudioReader(path, max_seconds=max_seconds) as reader:
        return reader.format, np.concatenate(list(reader.blocks()), axis=1)


def refusal(path: Path, *, max_seconds: float = 60) -> str:
    with pytest.raises(PermanentError) as raised:
        decoded(path, max_seconds=max_seconds)
    assert str(path) not in raised.value.message
    return raised.value.message


def write_silence(path: Path, *, channels: int = 2, rate: int = 44100, frames: int = 44100) -> Path:
    """A plain WAV file that declares the number of its channels but not their positions."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * channels * frames))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "source_bits", "stored_as"),
    [
        ("song.wav", "pcm_u8", 8, SampleFormat.INT16),
        ("song.wav", "pcm_s16le", 16, SampleFormat.INT16),
        ("song.wav", "pcm_s24le", 24, SampleFormat.INT24),
        ("song.wav", "pcm_s32le", 32, SampleFormat.INT32),
        ("song.wav", "pcm_f32le", 32, SampleFormat.FLOAT32),
        ("song.wav", "pcm_f64le", 32, SampleFormat.FLOAT32),
        ("song.aiff", "pcm_s24be", 24, SampleFormat.INT24),
        ("song.flac", "flac", 16, SampleFormat.INT16),
        ("song.m4a", "alac", 24, SampleFormat.INT24),
    ],
)
def test_lossless_files_are_decoded_to_the_sample(tmp_path, name, codec, source_bits, stored_as):
    sound = noise(1)
    audio_format, samples = decoded(write_audio(tmp_path / name, sound, codec=codec))
    assert audio_format == AudioFormat(44100, 2, stored_as)
    assert samples.dtype == np.float32
    assert samples.shape == sound.shape
    assert snr_db(sound, samples) > {8: 30, 16: 80, 24: 120, 32: 140}[source_bits]


@pytest.mark.parametrize(
    ("name", "codec", "rate", "encoder_padding"),
    [
        ("song.mp3", "libmp3lame", 44100, 0),
        ("song.m4a", "aac", 44100, 1024),
        ("song.aac", "aac", 44100, 2048),
        ("song.ogg", "libopus", 48000, 0),
        ("song.opus", "libopus", 48000, 0),
        ("song.webm", "libopus", 48000, 0),
        ("song.mka", "libmp3lame", 44100, 1152 * 2),
    ],
)
def test_lossy_files_are_decoded_and_count_as_16_bit(tmp_path, name, codec, rate, encoder_padding):
    sound = noise(1, rate=rate)
    audio_format, samples = decoded(write_audio(tmp_path / name, sound, codec=codec, rate=rate))
    assert audio_format == AudioFormat(rate, 2, SampleFormat.INT16)
    assert rate <= samples.shape[1] <= rate + encoder_padding


def test_24_bit_flac_is_distinguished_from_16_bit(tmp_path):
    sound = noise(1)
    path = tmp_path / "song.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=44100, layout="stereo")
        stream.format = "s32"
        mux_audio(container, stream, sound)
    audio_format, samples = decoded(path)
    assert audio_format.sample_format is SampleFormat.INT24
    assert snr_db(sound, samples) > 120


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mov", "film.avi"])
def test_the_first_audio_stream_of_a_film_is_decoded(tmp_path, name):
    with av.open(str(tmp_path / name), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        first = container.add_stream("aac", rate=44100, layout="stereo")
        second = container.add_stream("aac", rate=44100, layout="stereo")
        for _ in range(25):
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(image))
        container.mux(picture.encode(None))
        mux_audio(container, first, noise(1, peak=0.5))
        mux_audio(container, second, noise(1, peak=0.01))
    _, samples = decoded(tmp_path / name)
    assert np.abs(samples).max() > 0.3


def test_mono_stays_mono(tmp_path):
    audio_format, samples = decoded(write_audio(tmp_path / "song.wav", noise(1, channels=1), codec="pcm_s16le"))
    assert audio_format.channels == 1
    assert samples.shape == (1, 44100)


def test_surround_is_mixed_down_to_stereo(tmp_path):
    sound = noise(1, channels=6, peak=0.2)
    path = write_audio(tmp_path / "song.wav", sound, codec="pcm_f32le", layout="5.1")
    audio_format, samples = decoded(path)
    left = sound[0] + np.sqrt(0.5) * (sound[2] + sound[4])
    right = sound[1] + np.sqrt(0.5) * (sound[2] + sound[5])
    assert audio_format.channels == 2
    assert snr_db(np.stack([left, right]), samples) > 120


@pytest.mark.parametrize("channels", [3, 4, 6, 8, 9, 64])
def test_channels_without_a_declared_layout_are_mixed_down(tmp_path, channels):
    audio_format, samples = decoded(write_silence(tmp_path / "song.wav", channels=channels))
    assert audio_format.channels == 2
    assert samples.shape == (2, 44100)


def test_joined_streams_that_change_channels_are_decoded_to_the_end(tmp_path):
    parts = [
        write_audio(tmp_path / f"{channels}.mp3", noise(1, channels=channels), codec="libmp3lame").read_bytes()
        for channels in (2, 1)
    ]
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(parts))
    audio_format, samples = decoded(path)
    assert audio_format.channels == 2
    assert samples.shape[1] >= 2 * 44100


def test_a_truncated_file_is_decoded_up_to_its_end(tmp_path):
    path = write_audio(tmp_path / "song.mp3", noise(2), codec="libmp3lame")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, samples = decoded(path)
    assert 35_000 < samples.shape[1] < 50_000


@pytest.mark.parametrize("suffix", ["flac", "m4a"])
def test_damage_in_the_middle_loses_only_the_damaged_part(tmp_path, suffix):
    path = write_audio(tmp_path / f"song.{suffix}", noise(3), codec={"flac": "flac", "m4a": "aac"}[suffix])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)
    _, samples = decoded(path)
    assert 2 * 44100 < samples.shape[1] <= 3 * 44100 + 1024


@pytest.mark.parametrize(
    "content",
    [
        b"This is a text in a file that is named like a song. " * 100,
        b"<!doctype html><html><body>404 Not Found</body></html>" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(2000),
        b"%PDF-1.7\n" + bytes(2000),
        bytes(100_000),
        np.random.default_rng(5).bytes(1_000_000),
        np.random.default_rng(7).bytes(50_000),
    ],
    ids=["text", "html", "png", "pdf", "zeros", "random", "random-2"],
)
@pytest.mark.parametrize("name", ["song.mp3", "song.wav"])
def test_files_that_are_not_audio_are_refused_with_a_message(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path).startswith("The file is not audio that can be decoded: ")


def test_a_damaged_file_does_not_fill_the_log_with_tracebacks(tmp_path, capfd):
    path = tmp_path / "song.wma"
    path.write_bytes(MAGICS["asf"] * 2_000)  # makes FFmpeg seek before the beginning, a thousand times
    assert refusal(path)
    assert "Traceback" not in capfd.readouterr().err


def test_a_film_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    assert refusal(tmp_path / "film.mp4") == "The file has no audio stream."


def test_a_file_without_samples_is_refused_as_empty(tmp_path):
    assert refusal(write_silence(tmp_path / "song.wav", frames=0)).startswith("The audio is empty")


def test_a_file_of_zero_bytes_is_refused_as_empty(tmp_path):
    (tmp_path / "song.mp3").touch()
    assert refusal(tmp_path / "song.mp3").startswith("The audio is empty")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path, value):
    sound = noise(1)
    sound[1, 20_000] = value
    assert "not numbers" in refusal(write_audio(tmp_path / "song.wav", sound, codec="pcm_f32le"))


def test_unusual_sample_rates_are_refused(tmp_path):
    assert "1000 Hz" in refusal(write_silence(tmp_path / "song.wav", rate=1000))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("flac", "flac"),
        ("m4a", "aac"),
        ("mp3", "libmp3lame"),
        ("mka", "ac3"),
        ("wav", "pcm_s16le"),
        ("opus", "libopus"),
    ],
)
def test_a_song_that_is_too_long_is_refused_before_decoding(tmp_path, suffix, codec):
    rate = 48_000 if codec == "libopus" else 44_100
    song = write_audio(tmp_path / f"song.{suffix}", noise(10, rate=rate), codec=codec, rate=rate)
    reader = AudioReader(song, max_seconds=2)
    with pytest.raises(PermanentError, match="longer than 2 seconds"):
        reader.__enter__()


def test_a_song_that_is_slightly_too_long_is_refused_when_the_limit_is_reached(tmp_path):
    path = write_audio(tmp_path / "song.flac", noise(2.5), codec="flac")
    samples = 0
    with AudioReader(path, max_seconds=2) as reader, pytest.raises(PermanentError, match="longer than 2 seconds"):
        for block in reader.blocks():
            samples += block.shape[1]
    assert samples <= 2 * 44100


@pytest.mark.parametrize(("rate", "limit_s"), [(192_000, "2"), (384_000, "1"), (768_000, "0.5")])
def test_rates_above_192_khz_allow_the_same_number_of_samples(tmp_path, rate, limit_s):
    path = write_silence(tmp_path / "song.wav", rate=rate, frames=2 * 192_000)
    assert decoded(path, max_seconds=2)[1].shape == (2, 2 * 192_000)
    longer = write_silence(tmp_path / "longer.wav", rate=rate, frames=2 * 192_000 + 1)
    assert f"longer than {limit_s} seconds" in refusal(longer, max_seconds=2)


def test_exactly_the_limit_is_accepted(tmp_path):
    path = write_audio(tmp_path / "song.wav", noise(2), codec="pcm_s16le")
    assert decoded(path, max_seconds=2)[1].shape[1] == 2 * 44100


def test_hours_of_silence_in_a_small_file_are_refused(tmp_path):
    path = write_audio(tmp_path / "song.flac", np.zeros((2, 44100 * 200), np.float32), codec="flac")
    assert path.stat().st_size < 200_000
    assert "longer than 2 minutes" in refusal(path, max_seconds=120)


@pytest.mark.parametrize("claimed_bytes", [0, 0xFFFFFFFF])
def test_a_wrong_length_in_the_header_is_ignored(tmp_path, claimed_bytes):
    path = write_silence(tmp_path / "song.wav", frames=5 * 44100)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", claimed_bytes)
    path.write_bytes(content)
    assert "longer than 4 seconds" in refusal(path, max_seconds=4)
    assert decoded(path, max_seconds=6)[1].shape[1] == 5 * 44100


@pytest.mark.parametrize("name", ["list.m3u8", "song.mp3", "song.wav"])
@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "sdp"])
def test_playlists_open_no_other_file(tmp_path, kind, name):
    secret = write_audio(tmp_path / "secret.wav", noise(1), codec="pcm_s16le")
    playlist = tmp_path / name
    playlist.write_text(playlists(str(secret))[kind])
    assert refusal(playlist).startswith("The file is not audio that can be decoded: ")


def test_a_playlist_that_ffmpeg_alone_would_follow_is_refused(tmp_path):
    """Shows that the tests above can fail: FFmpeg alone plays the other file that this playlist names."""
    secret = write_audio(tmp_path / "secret.wav", noise(1), codec="pcm_s16le")
    playlist = tmp_path / "song.txt"
    playlist.write_text(playlists(secret.name)["concat"])
    assert read_audio(playlist).shape == (2, 44100)
    assert refusal(playlist).startswith("The file is not audio that can be decoded: ")
