"""Hours of sound in a few megabytes are refused before they are decoded, whatever their headers declare."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.audio import write_audio
from tests.support.containers import OPUS_HEAD, OPUS_TAGS, flac_block, mov, ogg_page, stream_info, u32
from tests.support.media_child import MediaChild, media_child
from uvr.audio.decode import AudioReader

HOUR_S = 3600
MEMORY_BYTES = 32 * 2**20


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaChild]:
    with media_child(tmp_path_factory.mktemp("long") / "work") as child:
        yield child


def write_silent_flac(path: Path, hours: float) -> Path:
    """Frames of 4096 constant samples (RFC 9639, section 9), written without the encoder, which would take a minute."""
    count = round(hours * HOUR_S * 44_100 / 4096)
    with path.open("wb") as file:
        file.write(b"fLaC" + flac_block(0, stream_info(samples=count * 4096), last=True))
        for first, last in pairwise([0, 2**7, 2**11, 2**16, count]):
            numbers = (chr(number).encode("utf-8", "surrogatepass") for number in range(first, last))
            heads = np.frombuffer(b"".join(b"\xff\xf8\xc9\x18" + number for number in numbers), np.uint8)
            frames = with_checksum(heads.reshape(last - first, -1), 0x07, ">u1")
            frames = np.pad(frames, ((0, 0), (0, 6)))  # two constant subframes of zero
            file.write(with_checksum(frames, 0x8005, ">u2").tobytes())
    return path


def with_checksum(rows: NDArray[np.uint8], polynomial: int, form: str) -> NDArray[np.uint8]:
    """Rows of bytes, each followed by its cyclic redundancy check; `form` is the dtype of the check."""
    bits = 8 * np.dtype(form).itemsize
    table = np.arange(256, dtype=np.uint32) << (bits - 8)
    for _ in range(8):
        table = (table << 1 ^ (table >> (bits - 1) & 1) * polynomial) & (2**bits - 1)
    value = np.zeros(len(rows), np.uint32)
    for column in rows.T:
        value = (value << 8 & (2**bits - 1)) ^ table[value >> (bits - 8) ^ column]
    return np.hstack([rows, value.astype(form).view(np.uint8).reshape(len(rows), -1)])


def write_silent_opus(path: Path, hours: float, *, samples: int = 960) -> Path:
    """Packets of 20 ms; the time stamps of the pages declare `samples` at 48 kHz for each."""
    with av.open(str(path.with_suffix(".one.opus")), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo", options={"b": "6000"})
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="stereo")
        frame.sample_rate = 48_000
        packets = [packet for _ in range(50) for packet in stream.encode(frame)]
        silence = bytes(packets[-1])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo", options={"b": "6000"})
        container.start_encoding()
        for number in range(round(hours * HOUR_S * 50)):
            packet = av.Packet(silence)
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = number * samples
            packet.duration = samples
            container.mux(packet)
    return path


def write_opus_of_smallest_packets(path: Path, hours: float) -> Path:
    """Packets of one byte and 2.5 ms (RFC 6716, section 3.1), 255 a page; the time stamps of the pages declare 1 ms."""
    packets = [b"\x84"] * 255
    pages = round(hours * HOUR_S * 400 / len(packets))
    page = np.frombuffer(ogg_page(packets), np.uint8)
    rows = np.tile(page, (pages, 1))
    numbers = np.arange(1, pages + 1)
    rows[:, 6:14] = (numbers * len(packets) * 48).astype("<u8").view(np.uint8).reshape(pages, 8)
    rows[:, 18:22] = (numbers + 1).astype("<u4").view(np.uint8).reshape(pages, 4)
    rows[:, 22:26] = 0
    rows[:, 22:26] = with_checksum(rows, 0x04C11DB7, ">u4")[:, :-5:-1]
    path.write_bytes(ogg_page([OPUS_HEAD], flags=2) + ogg_page([OPUS_TAGS], number=1) + rows.tobytes())
    return path


def shortened(flac: Path, path: Path) -> Path:
    """The same file with a header that declares one second (RFC 9639, section 8.2)."""
    content = bytearray(flac.read_bytes())
    content[21] &= 0xF0
    content[22:26] = struct.pack(">I", 44_100)
    path.write_bytes(content)
    return path


def assert_refused_before_decoding(child: MediaChild, path: Path, about_bytes: int, *, cpu_s: float = 1) -> None:
    assert path.stat().st_size == pytest.approx(about_bytes, rel=0.3)
    verdict = child.decode(path, max_seconds=HOUR_S)
    assert verdict.refusal == "The audio is longer than 60 minutes, the maximum."
    assert verdict.cpu_s < cpu_s  # takes a fifth of it on an idle machine
    assert verdict.memory_bytes < MEMORY_BYTES
    assert verdict.disk_bytes == 0


def test_twelve_hours_of_silence_in_a_flac_file_are_refused_before_decoding(child, tmp_path):
    song = write_silent_flac(tmp_path / "song.flac", hours=12)
    assert_refused_before_decoding(child, song, 8 * 10**6)
    assert_refused_before_decoding(child, shortened(song, tmp_path / "wrong-header.flac"), 8 * 10**6)


@pytest.mark.parametrize("samples", [960, 1], ids=["right time stamps", "wrong time stamps"])
def test_two_hours_of_silence_in_an_opus_file_are_refused_before_decoding(child, tmp_path, samples):
    song = write_silent_opus(tmp_path / "song.opus", hours=2, samples=samples)
    assert_refused_before_decoding(child, song, 3 * 10**6)


def test_an_opus_file_of_the_smallest_packets_is_refused_before_decoding(child, tmp_path):
    song = write_opus_of_smallest_packets(tmp_path / "song.opus", hours=2)
    assert_refused_before_decoding(child, song, 6 * 10**6, cpu_s=3)


TWO_HOURS = 2 * HOUR_S * 44_100


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"times": u32(2) + u32(1) + u32(TWO_HOURS) + u32(4_999) + u32(1)}, id="first packet"),
        pytest.param({"times": u32(2) + u32(4_999) + u32(1) + u32(1) + u32(TWO_HOURS)}, id="last packet"),
        pytest.param({"times": u32(1) + u32(5_000) + u32(44_100)}, id="every packet"),
        pytest.param({"duration": TWO_HOURS}, id="length"),
        pytest.param({"timescale": 1}, id="clock"),
    ],
)
def test_wrong_durations_do_not_make_a_short_song_too_long(tmp_path, wrong):
    path = tmp_path / "song.mov"
    path.write_bytes(mov(**wrong))
    with AudioReader(path, max_seconds=60) as song:
        assert sum(block.shape[1] for block in song.blocks()) == 5_000


def test_a_clock_with_the_wrong_speed_does_not_make_a_song_too_long(tmp_path):
    path = write_audio(tmp_path / "song.m4a", np.zeros((2, 5 * 44_100), np.float32), codec="aac")
    content = bytearray(path.read_bytes())
    struct.pack_into(">I", content, content.index(b"mdhd") + 16, 441)
    path.write_bytes(content.replace(b"edts", b"free"))
    with AudioReader(path, max_seconds=10) as song:
        assert sum(block.shape[1] for block in song.blocks()) == pytest.approx(5 * 44_100, abs=2_048)
        assert song.notes == ("Some of the file's time stamps do not match its audio; they were ignored.",)


def test_packets_longer_than_declared_are_refused_while_decoding(child, tmp_path):
    path = write_audio(tmp_path / "song.m4a", np.zeros((2, 60 * 44_100), np.float32), codec="alac")
    content = bytearray(path.read_bytes())
    times = content.index(b"stts") + 8
    for entry in range(struct.unpack_from(">I", content, times)[0]):
        struct.pack_into(">I", content, times + 8 + 8 * entry, 1)
    path.write_bytes(content)
    verdict = child.decode(path, max_seconds=20)
    assert verdict.refusal == "The audio is longer than 20 seconds, the maximum."
    assert 0 < verdict.disk_bytes <= 20 * 44_100 * 8
