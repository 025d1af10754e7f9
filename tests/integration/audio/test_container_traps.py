"""How the declarations of containers are interpreted: tracks, time stamps, channels, sample sizes."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support import corpus
from tests.support.audio import Samples, encoded, noise, read_audio, write_audio
from tests.support.containers import caf, chunk, dsdiff, extensible_wav, id3, id3_frame
from tests.support.films import Sound, write_film
from uvr.audio.container import open_media
from uvr.audio.decode import AudioReader
from uvr.audio.format import AudioFormat, SampleFormat
from uvr.errors import PermanentError

COMMENT = av.stream.Disposition.comment
DEFAULT = av.stream.Disposition.default
PLAIN = av.stream.Disposition(0)


def decoded(path: Path, *, max_seconds: float = 60) -> tuple[AudioFormat, Samples, tuple[str, ...]]:
    with AudioReader(path, max_seconds=max_seconds) as reader:
        samples = np.concatenate(list(reader.blocks()), axis=1)
        return reader.format, samples, reader.notes


def peak(samples: Samples, start_s: float, stop_s: float, *, rate: int = 44_100) -> float:
    """The maximum absolute sample between two times."""
    return float(np.abs(samples[:, round(start_s * rate) : round(stop_s * rate)]).max())


def left_and_right(samples: int = 4_410) -> tuple[Samples, bytes]:
    """Two different channels, as floats and as 16-bit integers."""
    integers = np.random.default_rng(0).integers(-(2**15), 2**15, (2, samples), np.int16)
    return (integers / 2**15).astype(np.float32), integers.T.tobytes()


# Files that users reported; they are in shared/ next to the checkout, if at all.


@pytest.mark.parametrize(
    ("name", "samples", "notes"),
    [
        ("default_second.mkv", 264_600, ["The file has 2 audio tracks; track 2 was used."]),
        (
            "undecodable_first.mp4",
            265_216,
            ["The file has 2 audio tracks; track 2 was used; the codec of track 1 is not supported."],
        ),
        ("late_audio.mp4", 331_332, ["The file has no audio for 1.5 s at 0:00; silence was inserted."]),
        ("gap.mkv", 384_000, ["The file has no audio for 2.0 s at 0:03; silence was inserted."]),
        ("stereo_BL_BR.wav", 44_100, []),
        ("stereo_SL_SR.wav", 44_100, []),
        ("stereo_FC_LFE.wav", 44_100, []),
        ("three_no_mask.wav", 44_100, ["The song's 3 channels were mixed down to stereo."]),
        ("id3_before.wav", 44_100, []),
        ("int24_in_32.wav", 44_100, []),
        ("song.dff", 70_560, []),
    ],
)
def test_reported_files_are_decoded(shared_cases, name, samples, notes):
    _, sound, found = decoded(shared_cases / "media" / name)
    assert (sound.shape, list(found)) == ((2, samples), notes)
    assert 0.05 < np.abs(sound).max() < 2
    assert np.abs(sound).max(axis=1).min() > 0.05, "both sides sound"


# Tracks


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_default_track_is_used_at_any_position(tmp_path, suffix):
    quiet, loud = Sound(noise(2, peak=0.01), disposition=COMMENT), Sound(noise(2), disposition=DEFAULT)
    _, samples, notes = decoded(write_film(tmp_path / f"film.{suffix}", quiet, loud, quiet))
    assert peak(samples, 0, 2) > 0.3
    assert notes == ("The file has 3 audio tracks; track 2 was used.",)


@pytest.mark.parametrize(("first", "second"), [(PLAIN, PLAIN), (DEFAULT, DEFAULT), (DEFAULT, PLAIN)])
def test_of_equal_tracks_the_first_is_used(tmp_path, first, second):
    sounds = Sound(noise(2), disposition=first), Sound(noise(2, peak=0.01), disposition=second)
    _, samples, notes = decoded(write_film(tmp_path / "film.mkv", *sounds))
    assert peak(samples, 0, 2) > 0.3
    assert notes == ("The file has 2 audio tracks; track 1 was used.",)


def test_a_commentary_is_not_used_though_both_tracks_are_default(tmp_path):
    sounds = Sound(noise(2, peak=0.01), disposition=DEFAULT | COMMENT), Sound(noise(2), disposition=DEFAULT)
    _, samples, _ = decoded(write_film(tmp_path / "film.mkv", *sounds))
    assert peak(samples, 0, 2) > 0.3


@pytest.mark.parametrize(("suffix", "codec", "codec_id"), [("mkv", "aac", b"A_AAC"), ("mp4", "alac", b"alac")])
def test_a_track_with_an_unsupported_codec_is_skipped(tmp_path, suffix, codec, codec_id):
    quiet = Sound(noise(2, peak=0.01), codec, disposition=DEFAULT)
    path = write_film(tmp_path / f"film.{suffix}", quiet, Sound(codec=codec, disposition=PLAIN))
    path.write_bytes(path.read_bytes().replace(codec_id, codec_id[:2] + b"XYZ"[: len(codec_id) - 2], 1))
    _, samples, notes = decoded(path)
    assert peak(samples, 0, 2) > 0.3
    assert notes == ("The file has 2 audio tracks; track 2 was used; the codec of track 1 is not supported.",)


# Time stamps


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "flac"), ("mp4", "aac"), ("mov", "alac"), ("ts", "aac")])
def test_sound_that_starts_late_starts_with_silence(tmp_path, suffix, codec):
    film = write_film(tmp_path / f"film.{suffix}", Sound(codec=codec, pauses=((-1, 1.5),)))
    _, samples, notes = decoded(film)
    assert peak(samples, 0, 1.4) == 0
    assert peak(samples, 1.6, 1.8) > 0.05
    assert samples.shape[1] == pytest.approx(3.5 * 44_100, abs=2_500)
    assert notes == ("The file has no audio for 1.5 s at 0:00; silence was inserted.",)


@pytest.mark.parametrize("picture_s", [0.0, 3.0], ids=["alone", "film"])
@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libmp3lame"), ("mp4", "aac"), ("nut", "flac"), ("ts", "aac")])
def test_gaps_become_silence(tmp_path, suffix, codec, picture_s):
    film = write_film(tmp_path / f"film.{suffix}", Sound(codec=codec, pauses=((1, 2.0),)), picture_s=picture_s)
    _, samples, notes = decoded(film)
    assert peak(samples, 1.1, 2.9) == 0
    assert min(peak(samples, 0.5, 0.9), peak(samples, 3.2, 3.8)) > 0.05
    assert samples.shape[1] == pytest.approx(4 * 44_100, abs=2_500)
    assert len(notes) == 1
    assert notes[0].startswith("The file has no audio for 2.0 s at 0:")


@pytest.mark.parametrize("at_s", [-1.0, 1.0], ids=["start", "gap"])
@pytest.mark.parametrize("hours", [1, 1_000])
def test_an_absurd_time_stamp_makes_no_hours_of_silence(tmp_path, hours, at_s):
    film = write_film(tmp_path / "film.mkv", Sound(codec="flac", pauses=((at_s, hours * 3_600.0),)))
    _, samples, notes = decoded(film)
    assert samples.shape[1] == 2 * 44_100
    assert notes[0].startswith("The file's time stamps skip ")


def test_at_high_rates_the_limit_of_silence_counts_samples(tmp_path):
    sound = Sound(noise(1, rate=384_000), "pcm_s16le", rate=384_000, pauses=((0.5, 2.0),))
    film = write_film(tmp_path / "film.mkv", sound)
    assert decoded(film, max_seconds=8)[1].shape[1] == pytest.approx(3 * 384_000, abs=4_000)
    _, samples, notes = decoded(film, max_seconds=4)
    assert samples.shape[1] == 384_000
    assert notes[0].startswith("The file's time stamps skip 2.0 s")


ORDINARY_FILES = [
    *(("mp4", codec) for codec in ("aac", "libmp3lame", "alac")),
    *(("mkv", codec) for codec in ("aac", "libmp3lame", "ac3", "flac", "pcm_s16le")),
    *(("avi", codec) for codec in ("libmp3lame", "ac3", "pcm_s16le")),
    *(("ts", codec) for codec in ("aac", "mp2")),
    *(("mov", "pcm_s16le"), ("mpg", "mp2"), ("flv", "libmp3lame"), ("nut", "aac")),
]


@pytest.mark.parametrize("picture_s", [0.0, 2.0], ids=["alone", "film"])
@pytest.mark.parametrize(("suffix", "codec"), ORDINARY_FILES)
def test_ordinary_time_stamps_insert_nothing(tmp_path, suffix, codec, picture_s):
    path = write_film(tmp_path / f"film.{suffix}", Sound(codec=codec), picture_s=picture_s)
    _, samples, notes = decoded(path)
    assert np.array_equal(samples, read_audio(path))
    assert notes == ()


@pytest.mark.parametrize(("suffix", "picture_s"), [("webm", 0.0), ("mkv", 2.0), ("mp4", 2.0)])
def test_the_priming_of_opus_is_not_a_gap(tmp_path, suffix, picture_s):
    sound = Sound(noise(2, rate=48_000), "libopus", rate=48_000)
    path = write_film(tmp_path / f"film.{suffix}", sound, picture_s=picture_s)
    assert np.array_equal(decoded(path)[1], read_audio(path))


@pytest.mark.parametrize("suffix", ["mp3", "ts", "ogg", "flac"])
def test_concatenated_files_get_no_silence_in_between(tmp_path, suffix):
    codec = {"mp3": "libmp3lame", "ts": "aac", "ogg": "flac", "flac": "flac"}[suffix]
    path = write_audio(tmp_path / f"song.{suffix}", noise(2), codec=codec)
    path.write_bytes(path.read_bytes() * 2)
    assert decoded(path)[2] == ()


# Channels


@pytest.mark.parametrize("mask", [0, 0x3, 0x30, 0x600, 0xC, 0x404], ids=hex)
def test_two_channels_are_left_and_right_unchanged(tmp_path, mask):
    expected, integers = left_and_right()
    path = tmp_path / "song.wav"
    path.write_bytes(extensible_wav(integers, mask=mask))
    audio_format, samples, notes = decoded(path)
    assert (audio_format.channels, notes) == (2, ())
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize("layout", ["quad", "5.1", "7.1", "hexadecagonal", "22.2"])
def test_each_channel_of_a_file_is_mixed_in_or_named(tmp_path, layout):
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    mask = {"quad": 0x33, "5.1": 0x3F, "7.1": 0x63F, "hexadecagonal": 0x18003F737, "22.2": 0x1DE003FFFFFF}[layout]
    integers = np.zeros((len(names) * 400, len(names)), np.int16)
    for number in range(len(names)):
        integers[number * 400 : (number + 1) * 400, number] = 16_384
    path = tmp_path / "song.wav"
    path.write_bytes(extensible_wav(integers.tobytes(), channels=len(names), mask=mask & 0xFFFFFFFF))
    _, samples, notes = decoded(path)
    mixed_in = np.abs(samples).max(axis=0).reshape(len(names), 400)[:, 200] > 0.2
    assert notes[0] == f"The song's {len(names)} channels were mixed down to stereo."
    assert len(notes) == 1 + (not mixed_in.all())
    assert all("LFE" in notes[1] for is_mixed_in in mixed_in if not is_mixed_in)


@pytest.mark.parametrize(
    ("labels", "notes"),
    [
        ((2, 1), []),
        ((1, 1), []),
        (
            (1, 3, 2, 5, 6, 4),
            ["The song's 6 channels were mixed down to stereo.", "The song's LFE channel is not in the mix."],
        ),
    ],
    ids=["swapped", "twice left", "film order"],
)
def test_channels_in_an_unusual_order_are_decoded(tmp_path, labels, notes):
    """PyAV frees the description of such an order twice, which would end the process (see `declared_channel_names`)."""
    integers = np.zeros((4_410, len(labels)), np.int16)
    integers[:, 0] = 8_192
    path = tmp_path / "song.caf"
    path.write_bytes(caf(integers.tobytes(), labels))
    _, samples, found = decoded(path)
    assert list(found) == notes
    assert np.array_equal(samples, np.array([[0.25], [0.0]], np.float32).repeat(4_410, axis=1))


# Sample sizes, ID3 tags in front of a file, DSDIFF


@pytest.mark.parametrize("kind", ["RIFF", "RF64", "W64"])
@pytest.mark.parametrize(
    ("stored", "valid", "stored_as"),
    [
        (32, 32, SampleFormat.INT32),
        (32, 24, SampleFormat.INT24),
        (32, 20, SampleFormat.INT24),
        (32, 16, SampleFormat.INT24),
        (24, 24, SampleFormat.INT24),
        (24, 20, SampleFormat.INT24),
        (24, 12, SampleFormat.INT24),
        (16, 12, SampleFormat.INT16),
    ],
)
def test_integers_are_decoded_with_any_number_of_valid_bits(tmp_path, kind, stored, valid, stored_as):
    integers = np.random.default_rng(0).integers(-(2 ** (valid - 1)), 2 ** (valid - 1), (4_410, 2)) << (32 - valid)
    packed = integers.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - stored // 8 :].tobytes()
    path = tmp_path / "song.wav"
    path.write_bytes(extensible_wav(packed, stored=stored, valid=valid, kind=kind))
    audio_format, samples, _ = decoded(path)
    assert audio_format.sample_format is stored_as
    assert np.array_equal(samples, (integers / 2**31).astype(np.float32).T)


TITLE = id3(id3_frame(b"TIT2", b"\0song"))
LARGE_COVER = id3(id3_frame(b"APIC", b"\0image/png\0\3\0" + bytes(2 * 2**20)))


@pytest.mark.parametrize("tags", [TITLE, TITLE + TITLE, LARGE_COVER], ids=["title", "two", "large cover"])
@pytest.mark.parametrize(
    "kind", [("wav", "pcm_s16le"), ("wv", "wavpack"), ("flac", "flac"), ("ac3", "ac3"), ("mp3", "libmp3lame")]
)
def test_id3_tags_may_precede_any_file(tmp_path, kind, tags):
    song = corpus.seed(*kind)
    path = tmp_path / "song"
    path.write_bytes(tags + song)
    assert np.array_equal(decoded(path)[1], read_audio(song))


def test_valid_bits_are_read_behind_id3_tags(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(TITLE + extensible_wav(b"\0\0\0\x20" * 8_820, stored=32, valid=24))
    audio_format, samples, _ = decoded(path)
    assert audio_format.sample_format is SampleFormat.INT24
    assert np.array_equal(samples, np.full((2, 4_410), 0.25, np.float32))


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_dsdiff_is_decoded(tmp_path, channels):
    path = tmp_path / "song.dff"
    path.write_bytes(dsdiff(b"\xaa" * channels * 35_280, channels=channels))
    audio_format, samples, _ = decoded(path)
    assert (audio_format.sample_rate, samples.shape) == (352_800, (min(channels, 2), 35_280))


@pytest.mark.parametrize("kind", [b"8SVX", b"ILBM", b"ANIM"])
def test_of_the_amiga_formats_only_dsdiff_is_accepted(tmp_path, kind):
    body = kind + b"VHDR" + (20).to_bytes(4, "big") + bytes(12) + b"\x1f\x40\1\0\0\1\0\0BODY\0\0\4\0" + bytes(1024)
    path = tmp_path / "song.8svx"
    path.write_bytes(b"FORM" + len(body).to_bytes(4, "big") + body)
    with pytest.raises(PermanentError, match="its format is not known"):
        decoded(path)


# DTS inside of WAV, as on discs for home cinemas: the header claims 16-bit samples.


def dts_frame(random: np.random.Generator) -> bytes:
    """A frame of 512 samples in 2048 bytes, whose header says so, and noise behind it (ETSI TS 102 114, 5.3)."""
    bits = f"1{31:05b}0{15:07b}{2047:014b}{2:06b}{8:04b}{23:05b}" + "0" * 13 + f"{7:04b}" + "0" * 9
    header = bytes.fromhex("7ffe8001") + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(
        -(-len(bits) // 8), "big"
    )
    return header + random.integers(0, 256, 2048 - len(header), np.uint8).tobytes()


@pytest.mark.parametrize("silence_bytes", [0, 400_000])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_dts_in_a_wav_file_is_recognised(tmp_path, silence_bytes, order):
    random = np.random.default_rng(0)
    words = np.frombuffer(b"".join(dts_frame(random) for _ in range(300)), ">u2").astype(order)
    write_pcm(tmp_path / "song.wav", bytes(silence_bytes) + words.tobytes())
    with (tmp_path / "song.wav").open("rb") as file, open_media(file) as container:
        assert container.streams.audio[0].codec_context.name == "dca"


COVER = bytes(1_100_000)


def compressed(codec: str) -> bytes:
    """About 20 s of sound as raw frames."""
    if codec == "dts":
        random = np.random.default_rng(0)
        frames = b"".join(dts_frame(random) for _ in range(300))
        return np.frombuffer(frames, ">u2").astype("<u2").tobytes()
    return encoded(noise(20), f".{codec}", codec=codec, b={"mp2": "192k", "ac3": "640k"}[codec])


@pytest.mark.parametrize(
    ("codec", "silence_bytes", "rate", "first_chunk", "kind"),
    [
        ("mp2", 20_000, 44_100, b"", b"RIFF"),
        ("mp2", 100_000, 44_100, b"", b"RIFF"),
        ("mp2", 400_000, 44_100, b"", b"RIFF"),
        ("ac3", 0, 44_100, b"", b"RIFF"),
        ("dts", 20_000, 44_100, b"id3 ", b"RIFF"),
        ("dts", 20_000, 44_100, b"LIST", b"RIFF"),
        ("dts", 20_000, 44_100, b"LIST", b"RF64"),
        ("dts", 1_060_000, 192_000, b"", b"RIFF"),
    ],
)
def test_compressed_sound_in_a_wav_file_is_found_as_by_ffmpeg(tmp_path, codec, silence_bytes, rate, first_chunk, kind):
    data = bytes(silence_bytes) + compressed(codec)
    first = chunk(first_chunk, b"INFO" + COVER) if first_chunk else b""
    if kind == b"RF64":
        first = chunk(b"ds64", struct.pack("<QQQI", 2**31, len(data), len(data) // 4, 0)) + first
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, rate, rate * 4, 4, 16))
    content = b"WAVE" + first + form + chunk(b"data", data)
    path = tmp_path / "song.wav"
    path.write_bytes(chunk(kind, content))
    with av.open(str(path)) as container:
        found_by_ffmpeg = container.streams.audio[0].codec_context.name
    assert found_by_ffmpeg == ("dca" if codec == "dts" else codec)
    with path.open("rb") as file, open_media(file) as container:
        assert container.streams.audio[0].codec_context.name == found_by_ffmpeg


def probe_option(content: bytes, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The number of packets that FFmpeg may search when `content` is opened; None for its own number."""
    options: dict[str, str] = {}
    monkeypatch.setattr(av, "open", lambda *_, **given: options.update(given["options"]))
    open_media(io.BytesIO(content))
    return options.get("max_probe_packets")


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 44_100, 176_400, 4, 16))
SAMPLES = b"\0\0\0\0\xff\xff\0\0" + bytes(range(1, 101)) * 1000  # starts with 0, 0, -1, 0


@pytest.mark.parametrize(
    "chunks",
    [
        FORMAT + chunk(b"data", SAMPLES),
        FORMAT + chunk(b"LIST", b"INFO" + COVER) + chunk(b"data", SAMPLES, size=0xFFFFFFFF),
        FORMAT + chunk(b"data", bytes(300_000) + SAMPLES),
    ],
    ids=["plain", "cover and stream", "silence"],
)
def test_an_ordinary_wav_file_is_not_searched(monkeypatch, chunks):
    assert probe_option(chunk(b"RIFF", b"WAVE" + chunks), monkeypatch) == "1"


@pytest.mark.parametrize(
    "content",
    [
        b"AVI " + FORMAT + chunk(b"data", SAMPLES),
        b"WAVE" + FORMAT,
        b"WAVE" + chunk(b"data", SAMPLES) + FORMAT,
        b"WAVE" + chunk(b"junk", b"", size=0xFFFFFFFF) + FORMAT + chunk(b"data", SAMPLES),
        b"WAVE" + chunk(b"junk", b"") * 200 + FORMAT + chunk(b"data", SAMPLES),
        b"WAVE" + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 60_000, 2**31, 0, 4, 16)) + chunk(b"data", SAMPLES),
        b"WAVE" + chunk(b"fmt ", bytes(16)) + chunk(b"data", SAMPLES),
        b"WAVE" + FORMAT + chunk(b"data", bytes(2**22) + SAMPLES),
        b"WAVE" + FORMAT + chunk(b"data", SAMPLES + bytes(2**17 - 2 - len(SAMPLES)) + bytes.fromhex("7ffe8001")),
        b"WAVE" + FORMAT + chunk(b"data", bytes(2**17 - 1) + bytes.fromhex("770b") + SAMPLES),
        b"WAVE" + FORMAT + chunk(b"data", b"\xff"),
        b"",
    ],
    ids=[
        "AVI",
        "no data",
        "data first",
        "too large",
        "too many",
        "format too fast",
        "format of zeros",
        "silence",
        "DTS between blocks",
        "AC-3 between blocks",
        "one byte",
        "nothing",
    ],
)
def test_a_doubtful_wav_file_is_searched(monkeypatch, content):
    assert probe_option(chunk(b"RIFF", content), monkeypatch) is None


def test_samples_in_a_wav_file_are_not_taken_for_dts(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 300_000, np.int16)
    samples[1000:1002] = np.frombuffer(bytes.fromhex("7ffe8001"), np.int16)  # one sync word, by chance
    write_pcm(tmp_path / "song.wav", samples.tobytes())
    _, decoded_samples, _ = decoded(tmp_path / "song.wav")
    assert np.array_equal((decoded_samples.T * 2**15).astype(np.int16).reshape(-1), samples)


def write_pcm(path: Path, content: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(content)
