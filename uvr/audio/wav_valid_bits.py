"""Correction of WAV headers that FFmpeg misreads: samples stored in more bits than are valid.

WASAPI recordings and many converters store 24 valid bits in 32 (wValidBitsPerSample and wBitsPerSample of
WAVEFORMATEXTENSIBLE). FFmpeg uses the valid bits alone and reads such samples as floats, or with a wrong size.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_EXTENSIBLE, _INTEGER_PCM = 0xFFFE, 1
_FORMAT = struct.Struct("<HHIIHHHHIH")
"""The beginning of WAVEFORMATEXTENSIBLE, up to the part of the subformat that identifies the codec."""
_VALID_BITS_OFFSET = 18
_MAX_CHUNKS = 100
"""How many chunks are looked at; in practice there are a few."""


@dataclass(frozen=True)
class ValidBits:
    """A sample size that FFmpeg misreads: `valid` bits at the top of `stored` bits."""

    valid: int
    stored: int
    position: int
    """Where in the file the two bytes with `valid` are."""

    def corrected(self, data: bytes, position: int) -> bytes:
        """`data`, which was read at `position`, with a header that declares all stored bits valid (the rest is 0)."""
        start, stop = max(self.position, position), min(self.position + 2, position + len(data))
        if start >= stop:
            return data
        stored = struct.pack("<H", self.stored)[start - self.position : stop - self.position]
        return data[: start - position] + stored + data[stop - position :]


def valid_bits(file: BinaryIO, start: int = 0) -> ValidBits | None:
    """The sample size of the WAV, RF64, BW64 or Wave64 file at `start` if FFmpeg misreads it, otherwise None."""
    position = chunk_position(file, start, b"fmt ")
    file.seek(position or start)
    data = file.read(_FORMAT.size)
    if position is None or len(data) < _FORMAT.size:
        return None
    tag, channels, _, _, align, stored, _, valid, _, codec = _FORMAT.unpack(data)
    if (tag, codec) != (_EXTENSIBLE, _INTEGER_PCM) or align * 8 != channels * stored or stored not in (16, 24, 32):
        return None
    if not valid or -(-valid // 8) == stored // 8:
        return None
    return ValidBits(valid, stored, position + _VALID_BITS_OFFSET)


def chunk_position(file: BinaryIO, start: int, name: bytes) -> int | None:
    """Where the content of the first chunk called `name` starts; None if there is none, or too many before it."""
    file.seek(start)
    header = file.read(12)
    if header[:4] in (b"RIFF", b"RF64", b"BW64") and header[8:] == b"WAVE":
        position, name_bytes, size_format, padding = start + 12, 4, "<I", 2
    elif header[:4] == b"riff" and header[4:8] == bytes.fromhex("2e91cf11"):
        position, name_bytes, size_format, padding = start + 40, 16, "<Q", 8
    else:
        return None
    header_bytes, end = name_bytes + struct.calcsize(size_format), file.seek(0, os.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        if position + header_bytes > end:
            break
        file.seek(position)
        header = file.read(header_bytes)
        if header.startswith(name):
            return position + header_bytes
        (size,) = struct.unpack_from(size_format, header, name_bytes)
        # In Wave64 a chunk's size includes its header.
        position += max(size, header_bytes) if name_bytes == 16 else header_bytes + size
        position += -(position - start) % padding
    return None
