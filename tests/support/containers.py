"""Media containers written byte by byte by their specifications, so that each field can be made to lie."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

PCM = random.Random("pcm").randbytes(20_000)
"""5000 samples of noise, 16 bits, two channels."""
U32 = 2**32 - 1


def u16(number: int) -> bytes:
    return struct.pack(">H", number)


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def chunk(name: bytes, content: bytes, size: int | None = None, order: str = "<") -> bytes:
    return (
        name + struct.pack(f"{order}I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)
    )


def wav(
    *,
    tag: int = 1,
    channels: int = 2,
    rate: int = 44_100,
    align: int = 4,
    bits: int = 16,
    extra: bytes = b"",
    before: bytes = b"",
    fmt_size: int | None = None,
    data_size: int | None = None,
    riff_size: int | None = None,
) -> bytes:
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * align & U32, align, bits) + extra
    body = b"WAVE" + before + chunk(b"fmt ", form, fmt_size) + chunk(b"data", PCM, data_size)
    return chunk(b"RIFF", body, riff_size)


def extensible_wav(
    samples: bytes, *, channels: int = 2, stored: int = 16, valid: int = 16, mask: int = 0, kind: str = "RIFF"
) -> bytes:
    """A file of integers in RIFF, RF64 or W64 with WAVEFORMATEXTENSIBLE: valid bits and positions of channels."""
    align = channels * stored // 8
    form = struct.pack("<HHIIHHHHI", 0xFFFE, channels, 44_100, 44_100 * align, align, stored, 22, valid, mask)
    form += b"\1\0" + bytes.fromhex("000000001000800000aa00389b71")
    before = chunk(b"JUNK", b"odd")
    if kind == "W64":
        parts = [_w64_chunk(b"junk", b"odd"), _w64_chunk(b"fmt ", form), _w64_chunk(b"data", samples)]
        body = b"wave" + _W64_NAME + b"".join(parts)
        return b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", len(body) + 24) + body
    if kind == "RF64":
        before = chunk(b"ds64", struct.pack("<QQQI", 0, len(samples), len(samples) // align, 0)) + before
    size = U32 if kind == "RF64" else None
    return chunk(kind.encode(), b"WAVE" + before + chunk(b"fmt ", form) + chunk(b"data", samples, size), size)


_W64_NAME = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def _w64_chunk(name: bytes, content: bytes) -> bytes:
    return name + _W64_NAME + struct.pack("<Q", len(content) + 24) + content + bytes(-len(content) % 8)


def caf(samples: bytes, labels: Sequence[int]) -> bytes:
    """A Core Audio file of 16-bit samples whose channels have the positions `labels` (kAudioChannelLabel_…)."""
    channels = len(labels)
    form = struct.pack(">d4s5I", 44_100.0, b"lpcm", 2, 2 * channels, 1, channels, 16)
    places = struct.pack(">3I", 0, 0, channels) + b"".join(struct.pack(">5I", label, 0, 0, 0, 0) for label in labels)
    parts = {b"desc": form, b"chan": places, b"data": bytes(4) + samples}
    return b"caff\0\1\0\0" + b"".join(
        name + struct.pack(">q", len(content)) + content for name, content in parts.items()
    )


def dsdiff(samples: bytes, *, channels: int = 2, rate: int = 2_822_400) -> bytes:
    """A DSDIFF file of one-bit samples (DSD), a byte of each channel in turn."""

    def part(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content + b"\0" * (len(content) % 2)

    places = b"".join([b"SLFT", b"SRGT", b"C   ", b"LFE ", b"LS  ", b"RS  "][:channels])
    properties = part(b"FS  ", u32(rate)) + part(b"CHNL", u16(channels) + places)
    properties += part(b"CMPR", b"DSD \x0enot compressed")
    body = part(b"FVER", bytes.fromhex("01050000")) + part(b"PROP", b"SND " + properties) + part(b"DSD ", samples)
    return part(b"FRM8", b"DSD " + body)


def flac_block(kind: int, content: bytes, *, size: int | None = None, last: bool = False) -> bytes:
    return u32(kind << 24 | last << 31 | (len(content) if size is None else size)) + content


def stream_info(
    *, rate: int = 44_100, channels: int = 2, bits: int = 16, samples: int = 10_000, block: int = 4_096
) -> bytes:
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | samples
    return u16(block) + u16(block) + bytes(6) + struct.pack(">Q", packed) + bytes(16)


def id3(frames: bytes, *, version: int = 3, size: int | None = None, flags: int = 0) -> bytes:
    length = len(frames) if size is None else size
    return b"ID3" + bytes([version, 0, flags, *(length >> shift & 127 for shift in (21, 14, 7, 0))]) + frames


def id3_frame(name: bytes, content: bytes, *, size: int | None = None, flags: int = 0) -> bytes:
    return name + u32(len(content) if size is None else size) + u16(flags) + content


def box(kind: bytes, *parts: bytes, size: int | None = None) -> bytes:
    content = b"".join(parts)
    return u32(len(content) + 8 if size is None else size) + kind + content


def full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return box(kind, u32(flags), *parts)


def mov(
    *,
    references: bytes = box(b"url ", u32(1)),
    rate: int = 44_100,
    channels: int = 2,
    bits: int = 16,
    sample_bytes: int = 4,
    samples: int = 5_000,
    times: bytes = u32(1) + u32(5_000) + u32(1),
    chunks: bytes = u32(1) + u32(1) + u32(5_000) + u32(1),
    timescale: int = 44_100,
    duration: int = 5_000,
    more: bytes = b"",
) -> bytes:
    """A QuickTime file of 16-bit samples; `references` are the entries of dref, which say where the samples are."""
    kind = box(b"ftyp", b"qt  \0\0\2\0qt  ")
    description = bytes(6) + u16(1) + bytes(8) + u16(channels) + u16(bits) + bytes(4) + u32(rate << 16 & U32)
    table = box(
        b"stbl",
        full_box(b"stsd", u32(1), box(b"sowt", description)),
        full_box(b"stts", times),
        full_box(b"stsc", chunks),
        full_box(b"stsz", u32(sample_bytes), u32(samples)),
        full_box(b"stco", u32(1), u32(len(kind) + 8)),
    )
    media = box(
        b"mdia",
        full_box(b"mdhd", bytes(8), u32(timescale), u32(duration), u32(0)),
        full_box(b"hdlr", b"mhlrsoun", bytes(13)),
        box(b"minf", full_box(b"smhd", u32(0)), box(b"dinf", full_box(b"dref", u32(1), references)), table),
    )
    track = box(b"trak", full_box(b"tkhd", bytes(8), u32(1), u32(0), u32(duration), bytes(60), flags=7), media)
    header = full_box(b"mvhd", bytes(8), u32(timescale), u32(duration), bytes(76), u32(2))
    return kind + box(b"mdat", PCM) + box(b"moov", header, track, more)


def element(identity: str, content: bytes, size: int | None = None) -> bytes:
    return bytes.fromhex(identity) + b"\1" + (len(content) if size is None else size).to_bytes(7, "big") + content


def mkv(
    *, info: bytes = b"", tracks: bytes = b"", more: bytes = b"", rate: float = 44_100.0, channels: int = 2
) -> bytes:
    """A Matroska file of 16-bit samples."""
    head = element("1a45dfa3", element("4282", b"matroska") + element("4287", b"\4") + element("4285", b"\2"))
    sound = (
        element("b5", struct.pack(">d", rate)) + element("9f", channels.to_bytes(8, "big")) + element("6264", b"\x10")
    )
    track = element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\2") + element("86", b"A_PCM/INT/LIT")
    cluster = element("1f43b675", element("e7", b"\0") + element("a3", b"\x81\0\0\x80" + PCM))
    return head + element(
        "18538067",
        element("1549a966", element("2ad7b1", (10**6).to_bytes(4, "big")) + info)
        + element("1654ae6b", element("ae", track + element("e1", sound)) + tracks)
        + more
        + cluster,
    )


def avi_with_subtitles(subtitles: bytes) -> bytes:
    """An AVI file with a stream of 16-bit samples and a stream of subtitles that are an embedded file (GAB2)."""

    def stream(kind: bytes, form: bytes) -> bytes:
        header = kind + bytes(12) + struct.pack("<7I", 4, 176_400, 0, 5_000, 0, 0, 4) + bytes(8)
        return chunk(b"LIST", b"strl" + chunk(b"strh", header) + chunk(b"strf", form))

    main = struct.pack("<14I", 40_000, 0, 0, 0x10, 100, 0, 2, 0, 0, 0, 0, 0, 0, 0)
    sound = struct.pack("<HHIIHH", 1, 2, 44_100, 176_400, 4, 16)
    text = b"GAB2\0\2\0" + struct.pack("<I", 2) + bytes(2) + struct.pack("<HI", 4, len(subtitles)) + subtitles
    head = chunk(
        b"LIST", b"hdrl" + chunk(b"avih", main) + stream(b"auds\1\0\0\0", sound) + stream(b"txts\0\0\0\0", b"")
    )
    return chunk(b"RIFF", b"AVI " + head + chunk(b"LIST", b"movi" + chunk(b"01tx", text) + chunk(b"00wb", PCM)))


OPUS_HEAD = b"OpusHead\1\2" + struct.pack("<HIhB", 0, 48_000, 0, 0)
OPUS_TAGS = b"OpusTags" + struct.pack("<I4sI", 4, b"test", 0)


def ogg_page(
    packets: Sequence[bytes], *, stream: int = 1, number: int = 0, flags: int = 0, whole: bool = True
) -> bytes:
    """A page of an Ogg file (RFC 3533, section 6); the last packet continues on the next page unless it is `whole`."""
    segments = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    segments = segments if whole else segments[:-1]
    head = b"OggS\0" + struct.pack("<BQII", flags, 0, stream, number)
    rest = bytes([len(segments)]) + segments + b"".join(packets)
    return head + struct.pack("<I", _ogg_checksum(head + bytes(4) + rest)) + rest


def _ogg_checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value >> 31 else 0)
    return value
