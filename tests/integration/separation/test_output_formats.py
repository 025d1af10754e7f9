"""Stems in every output format match the song where the format allows it; notes name the differences."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.audio import chord, codec_of, mux_audio, noise, picture, read_audio, snr_db, write_audio
from tests.support.networks import PARAMETERS, write_network
from tests.support.song import separate_song
from uvr.audio.output_format import OutputFormat
from uvr.separation.engine import Separation
from uvr.separation.mdx.engine import MdxEngine

CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3float", "m4a": "aac", "ogg": "opus", "opus": "opus"}
SOURCES = {".mp3": "libmp3lame", ".flac": "flac", ".m4a": "aac", ".ogg": "libopus", ".wav": "pcm_s16le"}
FORMATS = list(OutputFormat)
LOSSY = [OutputFormat.MP3, OutputFormat.M4A, OutputFormat.OGG, OutputFormat.OPUS]
TAGS = {
    "title": "Über den Wolken",
    "artist": "歌手",
    "album": "Album",
    "album_artist": "Various",
    "composer": "A. Composer",
    "genre": "Folk",
    "date": "1974",
    "track": "3/12",
    "disc": "1/2",
    "comment": "A comment",
    "copyright": "CC0",
}
# RIFF has no chunks for these.
NOT_IN_WAV = {"album_artist", "composer", "disc"}


@pytest.fixture(scope="module")
def halving(tmp_path_factory) -> MdxEngine:
    """An engine whose "vocals" are half of the mixture."""
    return MdxEngine(write_network(tmp_path_factory.mktemp("model") / "half.onnx"), PARAMETERS, threads=1)


def separate(engine: MdxEngine, source: Path, output_format: OutputFormat = OutputFormat.WAV) -> Separation:
    folder = source.parent / "stems"
    folder.mkdir(exist_ok=True)
    return separate_song(engine, source, folder, max_seconds=60, output_format=output_format)


def tagged_song(path: Path, *, codec: str, cover: str = "", **tags: str) -> Path:
    """A second of sound with tags and, if `cover` names its codec, a picture; written with PyAV alone."""
    rate = 48000 if codec == "libopus" else 44100
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4a" else None) as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        container.metadata.update(tags)
        if cover:
            attached = container.add_mux_stream(cover, width=16, height=16)
            attached.disposition = av.stream.Disposition.attached_pic
            packet = av.Packet(picture(cover))
            packet.stream, packet.pts, packet.dts = attached, 0, 0
            container.mux(packet)
        mux_audio(container, stream, chord(1, rate=rate))
    return path


def tags_of(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    return {name.lower(): text for name, text in found.items() if name.lower() in TAGS}


def covers_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        pictures = container.streams.video
        assert all(stream.disposition & av.stream.Disposition.attached_pic for stream in pictures)
        return [bytes(packet) for packet in container.demux(*pictures) if packet.size] if pictures else []


@pytest.mark.parametrize("output_format", FORMATS)
def test_both_stems_have_the_requested_format(halving, tmp_path, output_format):
    sound = chord(2, rate=48000)
    source = write_audio(tmp_path / "song.wav", sound, codec="pcm_s16le", rate=48000)
    made = separate(halving, source, output_format)
    assert (made.output_format, made.sample_rate, made.channels, made.notes) == (output_format, 48000, 2, ())
    for name, path in made.stems.items():
        assert path.name == f"{name}.{output_format.value}"
        assert codec_of(path) == CODECS[output_format]
        assert sound.shape[1] <= read_audio(path).shape[1] < sound.shape[1] + 1024
    played = read_audio(made.stems["vocals"])[:, : sound.shape[1]]
    assert snr_db(sound / 2, played) > 25


@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.FLAC])
def test_the_low_8_bits_of_24_bit_stems_carry_signal(halving, tmp_path, output_format):
    """A sound below the lowest of 16 bits has 28 dB in 24-bit stems of a 24-bit song, and is lost in 16-bit stems."""
    sound = chord(2) * np.float32(2**-16)
    snr = {}
    for codec in ("pcm_s24le", "pcm_s16le"):
        made = separate(halving, write_audio(tmp_path / "song.wav", sound, codec=codec), output_format)
        vocals, instrumental = (read_audio(made.stems[name]) for name in ("vocals", "instrumental"))
        snr[codec] = snr_db(sound, PARAMETERS.compensate * vocals + instrumental)
    assert snr["pcm_s24le"] > 25
    assert snr["pcm_s16le"] < 1


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (8000, 2), (192_000, 1), (192_000, 2)])
@pytest.mark.parametrize("output_format", FORMATS)
def test_rates_and_channels_are_kept_where_the_format_allows(halving, tmp_path, output_format, rate, channels):
    sound = noise(1.25, rate=rate, channels=channels)
    source = write_audio(tmp_path / "song.wav", sound, codec="pcm_s24le", rate=rate)
    made = separate(halving, source, output_format)
    highest = {OutputFormat.MP3: 48000, OutputFormat.M4A: 96000, OutputFormat.OGG: 48000, OutputFormat.OPUS: 48000}
    opus = output_format in (OutputFormat.OGG, OutputFormat.OPUS)
    expected = 48000 if opus else min(rate, highest.get(output_format, rate))
    assert (made.sample_rate, made.channels) == (expected, channels)
    assert made.audio_s == 1.25
    assert bool(made.notes) == (expected != rate)
    for path in made.stems.values():
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            assert (stream.rate, stream.channels) == (expected, channels)
        assert 1.25 * expected <= read_audio(path).shape[1] < 1.25 * expected + 1024


def test_a_changed_rate_is_noted_with_both_rates(halving, tmp_path):
    made = separate(halving, write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le"), OutputFormat.OPUS)
    assert made.notes == (
        "The song has 44100 Hz, the stems have 48000 Hz: opus does not support the song's sample rate.",
    )
    assert made.facts()["notes"] == list(made.notes)


@pytest.mark.parametrize("output_format", FORMATS)
def test_more_than_two_channels_are_mixed_down_with_a_note(halving, tmp_path, output_format):
    sound = noise(1, rate=48000, channels=6, peak=0.2)
    source = write_audio(tmp_path / "song.wav", sound, codec="pcm_s16le", rate=48000, layout="5.1")
    made = separate(halving, source, output_format)
    notes = ("The song's 6 channels were mixed down to stereo.", "The song's LFE channel is not in the mix.")
    assert (made.channels, made.notes) == (2, notes)
    assert read_audio(made.stems["vocals"]).shape[0] == 2


@pytest.mark.parametrize("output_format", [OutputFormat.FLAC, *LOSSY])
def test_stems_that_would_clip_share_a_gain_even_for_float_songs(tmp_path, output_format):
    """With three times the mixture as vocals, the instrumental is -2.15 times the mixture."""
    engine = MdxEngine(write_network(tmp_path / "loud.onnx", factor=3.0), PARAMETERS)
    sound = chord(1, rate=48000)
    sound *= 0.9 / np.abs(sound).max()
    source = write_audio(tmp_path / "song.wav", sound, codec="pcm_f32le", rate=48000)
    made = separate(engine, source, output_format)
    assert made.gain == pytest.approx(1 / 2.7, rel=0.1)
    vocals, instrumental = (read_audio(made.stems[name])[:, :48000] for name in ("vocals", "instrumental"))
    assert np.abs(vocals).max() == pytest.approx(1, abs=0.1)
    assert snr_db(sound * made.gain, PARAMETERS.compensate * vocals + instrumental) > 20


@pytest.mark.parametrize(
    ("source", "output_format"),
    [*((source, OutputFormat.FLAC) for source in SOURCES), *((".flac", output_format) for output_format in FORMATS)],
)
def test_tags_are_kept(halving, tmp_path, source, output_format):
    song = tagged_song(tmp_path / f"song{source}", codec=SOURCES[source], **TAGS)
    lost = NOT_IN_WAV if ".wav" in (song.suffix, output_format.suffix) else set()
    made = separate(halving, song, output_format)
    for path in made.stems.values():
        assert tags_of(path) == {name: text for name, text in TAGS.items() if name not in lost}


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("cover", ["mjpeg", "png"])
def test_the_cover_is_kept_where_the_format_supports_it(halving, tmp_path, cover, output_format):
    made = separate(halving, tagged_song(tmp_path / "song.mp3", codec="libmp3lame", cover=cover), output_format)
    kept = [] if output_format is OutputFormat.WAV else [picture(cover)]
    assert all(covers_of(path) == kept for path in made.stems.values())


@pytest.mark.parametrize("source", ["song.flac", "song.m4a", "song.ogg"])
def test_covers_are_found_in_every_kind_of_file(halving, tmp_path, source):
    first = tagged_song(tmp_path / "first.mp3", codec="libmp3lame", cover="mjpeg", title="T")
    song = separate(halving, first, OutputFormat(Path(source).suffix[1:])).stems["vocals"]
    made = separate(halving, song.rename(tmp_path / source), OutputFormat.FLAC)
    assert covers_of(made.stems["vocals"]) == [picture("mjpeg")]
    assert tags_of(made.stems["vocals"]) == {"title": "T"}


def test_tags_that_do_not_apply_to_stems_are_left_out(halving, tmp_path):
    song = tagged_song(tmp_path / "song.flac", codec="flac", title="T", replaygain_track_gain="-7 dB", encoder="Any")
    with av.open(str(separate(halving, song, OutputFormat.FLAC).stems["vocals"])) as container:
        assert container.metadata == {"title": "T"}


def test_undecodable_and_huge_texts_are_left_out(halving, tmp_path):
    song = tagged_song(tmp_path / "song.wav", codec="pcm_s16le", title="XXXX", artist="A", comment="c" * 5000)
    song.write_bytes(song.read_bytes().replace(b"XXXX", "é?ü!".encode("latin-1")))
    assert tags_of(separate(halving, song).stems["vocals"]) == {"artist": "A"}


def test_a_video_keeps_its_title_but_no_pictures(halving, tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Film"
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="stereo")
        audio.metadata.update(title="English 5.1", language="eng")
        mux_audio(container, audio, chord(1))
        for number in range(10):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    made = separate(halving, path, OutputFormat.FLAC)
    assert made.audio_s == pytest.approx(1, abs=0.05)
    assert covers_of(made.stems["vocals"]) == []
    with av.open(str(made.stems["vocals"])) as container:
        assert container.metadata == {"title": "Film"}
