"""A corpus of broken media: small songs in every container that FFmpeg can write, damaged in every way but one by one.

Nothing of it is stored: the songs are encoded anew, and chance has a seed, so a name finds its case again.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av

from tests.support.audio import noise, write_audio

SEEDS = [
    ("wav", "pcm_s16le"),
    ("wav", "pcm_f32le"),
    ("wav", "pcm_u8"),
    ("wav", "adpcm_ms"),
    ("wav", "adpcm_ima_wav"),
    ("w64", "pcm_s24le"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_mulaw"),
    ("caf", "pcm_s16be"),
    ("caf", "alac"),
    ("flac", "flac"),
    ("mp3", "libmp3lame"),
    ("mp2", "mp2"),
    ("aac", "aac"),
    ("m4a", "aac"),
    ("m4a", "alac"),
    ("mp4", "flac"),
    ("mov", "pcm_s16le"),
    ("ogg", "vorbis"),
    ("ogg", "flac"),
    ("opus", "libopus"),
    ("webm", "libopus"),
    ("mka", "ac3"),
    ("mkv", "pcm_s16le"),
    ("avi", "mp2"),
    ("asf", "wmav2"),
    ("flv", "aac"),
    ("ts", "aac"),
    ("mpg", "mp2"),
    ("ac3", "ac3"),
    ("eac3", "eac3"),
    ("tta", "tta"),
    ("wv", "wavpack"),
    ("nut", "pcm_s16le"),
    ("voc", "pcm_u8"),
]
"""Suffix, which names the container, and codec."""

MAGICS = {
    "aac": b"\xff\xf1\x50\x80",
    "amr": b"#!AMR\n",
    "amr-wb": b"#!AMR-WB\n",
    "ape": b"MAC \x96\x0f\0\0",
    "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "avi": b"RIFF\xff\xff\xff\xffAVI LIST",
    "caf": b"caff\0\1\0\0desc",
    "dsdiff": b"FRM8\0\0\0\0\0\0\x20\0DSD FVER",
    "dsf": b"DSD \x1c\0\0\0\0\0\0\0",
    "dts": b"\x7f\xfe\x80\x01\xfc\x3c",
    "flac": b"fLaC",
    "flv": b"FLV\x01\x05\0\0\0\x09",
    "matroska": bytes.fromhex("1a45dfa3"),
    "mp3": b"ID3\x04\0\0",
    "mp4": b"\0\0\0\x18ftypisom",
    "mpc": b"MP+\x07",
    "mpc8": b"MPCKSH",
    "mpeg": b"\0\0\x01\xba",
    "mpegts": b"\x47\x40\0\x10",
    "mxf": bytes.fromhex("060e2b34020501010d0102010102"),
    "nut": b"nut/multimedia container\0",
    "ogg": b"OggS\0\x02",
    "rf64": b"RF64\xff\xff\xff\xffWAVEds64",
    "tak": b"tBaK",
    "truehd": b"\0\0\0\0\xf8\x72\x6f\xba",
    "tta": b"TTA1\x01\0",
    "voc": b"Creative Voice File\x1a",
    "wav": b"RIFF\xff\xff\xff\xffWAVEfmt ",
    "wavpack": b"wvpk",
}
"""How files begin, one for each demuxer that uvr.audio lets FFmpeg use, also where FFmpeg cannot write the format."""

_EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80"]
_SECONDS = 0.25
_RATE = 48_000


@dataclass(frozen=True)
class Case:
    """A file that a client might send; `file_name` is what it is called on disk."""

    name: str
    content: bytes
    file_name: str = "song"


def seed(suffix: str, codec: str) -> bytes:
    """A quarter of a second of noise."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"song.{suffix}"
        return write_audio(path, noise(_SECONDS, rate=_RATE), codec=codec, rate=_RATE, **_options(codec)).read_bytes()


def damaged(name: str, content: bytes) -> Iterator[Case]:
    """`content` cut, flipped, overwritten, turned round, and under another name."""
    chance = random.Random(name)
    for share in (0.002, 0.01, 0.1, 0.5, 0.9, 0.999):
        yield Case(f"{name} cut after {share:.1%}", content[: int(len(content) * share)])
    for flips in (1, 30, 1000):
        yield Case(f"{name} with {flips} bits flipped", _flipped(content, flips, len(content), chance))
    for flips in (1, 4, 16):
        yield Case(f"{name} with {flips} bits of its header flipped", _flipped(content, flips, 256, chance))
    for extreme in _EXTREMES:
        yield Case(f"{name} with {extreme.hex()} in its header", _overwritten(content, extreme, chance))
    start, stop = sorted(chance.sample(range(len(content)), 2))
    yield Case(f"{name} without its middle", content[:start] + content[stop:])
    yield Case(f"{name} twice", content * 2)
    yield Case(f"{name} from its middle on", content[len(content) // 2 :] + content)
    yield Case(f"{name} called a playlist", content, "song.m3u8")


def without_frames(suffix: str, codec: str) -> Case:
    """A container whose header promises a stream of which nothing follows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"song.{suffix}"
        with av.open(str(path), "w") as container:
            container.add_stream(codec, rate=_RATE, layout="stereo", options=_options(codec))
            container.start_encoding()
        return Case(f"{suffix} {codec} without frames", path.read_bytes())


def magic_and_noise() -> Iterator[Case]:
    """The beginnings of all formats, with noise and with zeros behind them."""
    for name, magic in MAGICS.items():
        for number, size in enumerate((0, 100, 5_000, 50_000)):
            yield Case(f"{name} with {size} bytes of noise", magic + random.Random(f"{name}{number}").randbytes(size))
        yield Case(f"{name} with zeros", magic + bytes(20_000))
        yield Case(f"{name} over and over", magic * 2_000)


def _options(codec: str) -> dict[str, str]:
    return {"strict": "-2"} if codec == "vorbis" else {"b": "128000"}


def _flipped(content: bytes, flips: int, within: int, chance: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(flips):
        flipped[chance.randrange(min(within, len(flipped)))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _overwritten(content: bytes, extreme: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(4, 128)
    return content[:position] + extreme + content[position + len(extreme) :]
