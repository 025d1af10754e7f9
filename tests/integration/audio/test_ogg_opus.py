"""Packet durations read from an Ogg Opus file equal those that FFmpeg reports."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import pytest

from tests.support.audio import encoded, noise, write_audio
from tests.support.containers import OPUS_HEAD, OPUS_TAGS, ogg_page
from uvr.audio.ogg_opus import packet_samples

TOC_20_MS, TOC_3_FRAMES_OF_20_MS = b"\x98", b"\x9b\x03"
"""First bytes of packets (RFC 6716, section 3.1 and 3.2.5)."""


def samples(*pages: bytes) -> list[int]:
    return list(packet_samples(BytesIO(ogg_page([OPUS_HEAD], flags=2) + ogg_page([OPUS_TAGS]) + b"".join(pages))))


@pytest.mark.parametrize("frame_ms", ["2.5", "5", "10", "20", "40", "60", "80", "100", "120"])
def test_packet_durations_equal_ffmpegs(frame_ms: str, tmp_path: Path) -> None:
    options = {"frame_duration": frame_ms, "b": "256000"}
    path = write_audio(tmp_path / "song.opus", noise(3, rate=48_000), codec="libopus", rate=48_000, **options)
    with av.open(str(path)) as container:
        # FFmpeg cuts the last one to the end of the song.
        expected = [packet.duration for packet in container.demux(audio=0) if packet.size][:-1]
    with path.open("rb") as file:
        found = list(packet_samples(file))
    assert found[:-1] == expected
    assert set(found) == {round(float(frame_ms) * 48)}


def test_a_packet_may_continue_on_the_next_page() -> None:
    first, second = ogg_page([TOC_20_MS + bytes(254)], whole=False), ogg_page([bytes(9), TOC_20_MS], flags=1)
    assert samples(first, second) == [960, 960]


def test_the_number_of_frames_is_read_from_the_packet() -> None:
    assert samples(ogg_page([TOC_3_FRAMES_OF_20_MS, TOC_3_FRAMES_OF_20_MS[:1], b"", TOC_20_MS])) == [2880, 0, 960]


def test_other_streams_are_ignored() -> None:
    assert samples(ogg_page([TOC_20_MS] * 2, stream=7), ogg_page([TOC_20_MS])) == [960]


def test_reading_stops_at_the_first_damage() -> None:
    page = ogg_page([TOC_20_MS] * 3)
    for damage in (b"", page[:20], page[:28], page[:-1], b"noise" + page):
        assert samples(page, damage) == [960] * 3


@pytest.mark.parametrize("kind", [(".wav", "pcm_s16le"), (".ogg", "vorbis"), (".webm", "libopus")], ids=" ".join)
def test_other_formats_have_no_opus_packets(kind: tuple[str, str]) -> None:
    suffix, codec = kind
    content = encoded(noise(1, rate=48_000), suffix, codec=codec, rate=48_000, strict="-2")
    assert list(packet_samples(BytesIO(content))) == []
