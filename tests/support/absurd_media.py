"""Media files whose headers promise what no file can keep, and small files that grow when they are read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.support.containers import (
    PCM,
    U32,
    box,
    chunk,
    element,
    flac_block,
    full_box,
    id3,
    id3_frame,
    mkv,
    mov,
    stream_info,
    u16,
    u32,
    wav,
)
from tests.support.corpus import Case


def absurd_headers(mp3: bytes) -> Iterator[Case]:
    """Headers that promise what no file can keep."""
    yield from absurd_wavs()
    yield from absurd_aiffs()
    yield from absurd_aus()
    yield from absurd_cafs()
    yield from absurd_flacs()
    yield from absurd_movs()
    yield from absurd_mkvs()
    yield from id3_bombs(mp3)


def absurd_wavs() -> Iterator[Case]:
    sizes = [0, 1, 3, 2**31 - 1, 2**31, U32 - 1, U32]
    fields = {
        "channels": [0, 1, 3, 255, 1024, 32_767, 65_535],
        "rate": [0, 1, 3_999, 768_001, 2**31 - 1, 2**31, U32],
        "align": [0, 1, 3, 65_535],
        "bits": [0, 1, 7, 17, 33, 64, 128, 65_535],
        "tag": [0, 2, 3, 6, 0x11, 0x50, 0x55, 0x161, 0x162, 0x270, 0xFFFE, 0xFFFF],
        "fmt_size": sizes,
        "data_size": sizes,
        "riff_size": sizes,
        "before": [chunk(name, b"x" * 64, size) for name in (b"LIST", b"id3 ", b"bext") for size in sizes],
        "extra": [struct.pack("<H", 22) + bytes(22), u16(65_535), bytes(4_000)],
    }
    for field, values in fields.items():
        for number, value in enumerate(values):
            yield Case(f"wav {field} {number if isinstance(value, bytes) else value}", wav(**{field: value}))


def absurd_aiffs() -> Iterator[Case]:
    rates = [
        "400eac44000000000000",
        "7fffffffffffffffffff",
        "ffff8000000000000000",
        "00000000000000000000",
        "c00e" + "f" * 16,
    ]
    for number, rate in enumerate(rates):
        for channels, frames, bits in [(2, 5_000, 16), (32_767, U32, 16), (0, 0, 0), (2, U32, 65_535)]:
            common = u16(channels) + u32(frames) + u16(bits) + bytes.fromhex(rate)
            body = b"AIFF" + chunk(b"COMM", common, order=">") + chunk(b"SSND", bytes(8) + PCM, order=">")
            yield Case(f"aiff rate {number} channels {channels} bits {bits}", chunk(b"FORM", body, order=">"))


def absurd_aus() -> Iterator[Case]:
    extremes = [
        (24, U32, 3, 44_100, 2**31),
        (24, U32, 3, U32, 2),
        (24, U32, 3, 0, 0),
        (U32, 0, 3, 44_100, 2),
        (0, 0, U32, 1, 1),
    ]
    for number, fields in enumerate([*extremes, (24, U32, 27, 2**31, U32), (2**31, 2**31, 23, 8_000, 1)]):
        yield Case(f"au {number}", b".snd" + struct.pack(">5I", *fields) + PCM)


def absurd_cafs() -> Iterator[Case]:
    fields = {
        "ordinary": (44_100.0, 4, 1, 2, 16),
        "channels": (44_100.0, 4, 1, 2**31, 16),
        "no rate": (0.0, 4, 1, 2, 16),
        "rate": (4294967295.0, 4, 1, 2, 16),
        "negative rate": (-44_100.0, 4, 1, 2, 16),
        "endless rate": (float("inf"), 4, 1, 2, 16),
        "no number as rate": (float("nan"), 4, 1, 2, 16),
        "packet": (44_100.0, U32, U32, 2, 16),
        "nothing": (44_100.0, 0, 0, 0, 0),
    }
    for name, (rate, *numbers) in fields.items():
        for size in (len(PCM) + 4, -1, -(2**63), 2**63 - 1):
            form = struct.pack(">d4sI4I", rate, b"lpcm", 0, *numbers)
            content = (
                b"caff\0\1\0\0desc" + struct.pack(">q", 32) + form + b"data" + struct.pack(">q", size) + bytes(4) + PCM
            )
            yield Case(f"caf {name} {size}", content)


def absurd_flacs() -> Iterator[Case]:
    infos = {
        "no rate": {"rate": 0},
        "rate": {"rate": 2**20 - 1},
        "samples": {"samples": 2**36 - 1},
        "no samples": {"samples": 0},
        "bits": {"bits": 1},
        "block": {"block": 65_535},
        "no block": {"block": 0},
    }
    for name, fields in infos.items():
        yield Case(f"flac {name}", b"fLaC" + flac_block(0, stream_info(**fields), last=True) + PCM)
    for kind in (0, 1, 2, 3, 4, 5, 6, 126, 127):
        block = flac_block(kind, u32(U32) * 10, size=2**24 - 1)
        yield Case(f"flac huge block {kind}", b"fLaC" + flac_block(0, stream_info()) + block + PCM)
    cover = u32(3) + u32(U32) + b"image/jpeg" + u32(U32) * 6
    yield Case(
        "flac picture without end", b"fLaC" + flac_block(0, stream_info()) + flac_block(6, cover, last=True) + PCM
    )


def id3_bombs(song: bytes) -> Iterator[Case]:
    cover = id3_frame(b"APIC", b"\0image/jpeg\0\3\0\xff\xd8" + bytes(24 * 2**20))
    deep = id3_frame(b"CHAP", b"c\0" + bytes(16))
    for _ in range(200):
        deep = id3_frame(b"CHAP", b"c\0" + bytes(16) + deep)
    packed = zlib.compress(bytes(64 * 2**20), 9)
    tags = {
        "tag larger than the file": id3(id3_frame(b"TIT2", b"\0song"), size=2**28 - 1),
        "frame larger than the tag": id3(id3_frame(b"TIT2", b"\0song", size=U32)),
        "many frames": id3(id3_frame(b"TXXX", b"\0name\0value") * 50_000),
        "deep chapters": id3(deep),
        "giant cover": id3(cover),
        "giant private frame": id3(id3_frame(b"PRIV", b"owner\0" + bytes(24 * 2**20))),
        "giant tags in a row": id3(id3_frame(b"PRIV", b"owner\0" + bytes(6 * 2**20))) * 3,
        "cover of no size": id3(id3_frame(b"APIC", b"\0image/png\0\3\0")),
        "unsynchronised": id3(id3_frame(b"TIT2", b"\0" + b"\xff\0" * 10_000), flags=0x80),
        "extended header": id3(u32(2**28) + bytes(100), flags=0x40),
        "packed": id3(id3_frame(b"TIT2", u32(64 * 2**20) + packed, flags=0x80)),
        "packed, larger than it says": id3(id3_frame(b"TIT2", u32(16) + packed, flags=0x80)),
        "packed, smaller than it says": id3(id3_frame(b"TIT2", u32(U32) + zlib.compress(b"song"), flags=0x80)),
        "tag in tag": b"".join(id3(id3_frame(b"TIT2", b"\0a"), version=version) for version in (2, 3, 4)) * 500,
    }
    for name, tag in tags.items():
        yield Case(f"id3 {name}", tag + song)


def absurd_movs() -> Iterator[Case]:
    deep, deeper = b"", box(b"free")
    for _ in range(5_000):
        deep, deeper = box(b"udta", deep), box(b"moov", box(b"trak", deeper))
    cover = box(
        b"udta", full_box(b"meta", box(b"ilst", box(b"covr", box(b"data", u32(13), u32(0), bytes(24 * 2**20)))))
    )
    fields = {
        "ordinary": {},
        "no rate": {"rate": 0, "timescale": 0},
        "rate": {"rate": 65_535, "timescale": U32},
        "channels": {"channels": 65_535},
        "no channels": {"channels": 0, "bits": 0},
        "many samples": {"samples": U32},
        "large samples": {"sample_bytes": U32},
        "no samples": {"samples": 0},
        "many times": {"times": u32(U32) + u32(U32) + u32(U32)},
        "long times": {"times": u32(1) + u32(5_000) + u32(2**31 - 1)},
        "negative times": {"times": u32(1) + u32(5_000) + u32(2**31 + 1)},
        "many chunks": {"chunks": u32(U32) + u32(1) + u32(U32) + u32(1)},
        "chunks of nothing": {"chunks": u32(1) + u32(0) + u32(0) + u32(0)},
        "duration": {"duration": U32},
        "deep boxes": {"more": deep},
        "deep tracks": {"more": deeper},
        "box of no size": {"more": box(b"udta", size=0)},
        "box of one byte": {"more": box(b"udta", size=1)},
        "huge box": {"more": box(b"udta", size=U32)},
        "giant cover": {"more": cover},
        "many references": {"references": box(b"url ", u32(1)) * 1_000},
    }
    for name, given in fields.items():
        yield Case(f"mov {name}", mov(**given))


def absurd_mkvs() -> Iterator[Case]:
    for rate in (0.0, -1.0, 1e300, float("inf"), float("nan"), 4294967295.0):
        yield Case(f"mkv rate {rate}", mkv(rate=rate))
    for channels in (0, 255, 2**31, 2**63):
        yield Case(f"mkv channels {channels}", mkv(channels=channels))
    for identity in ("ec", "1254c367", "1941a469", "1c53bb6b", "114d9b74"):
        for size in (2**31, 2**55, 2**56 - 1):
            yield Case(f"mkv element {identity} of {size} bytes", mkv(more=element(identity, b"x", size)))
    deep = b""
    for _ in range(2_000):
        deep = element("67c8", element("45a3", b"TITLE") + deep)
    yield Case("mkv deep tags", mkv(more=element("1254c367", element("7373", deep))))
    yield Case("mkv many tracks", mkv(tracks=element("ae", element("d7", b"\2") + element("83", b"\2")) * 20_000))
