"""How many bits of a sample count, as WAV files say it and FFmpeg misreads it.

Recordings by WASAPI and many converters keep 24 bits in 32 (WAVEFORMATEXTENSIBLE: wValidBitsPerSample and
wBitsPerSample). FFmpeg goes by the valid bits alone, and takes such samples for floats, or for smaller ones.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_EXTENSIBLE, _INTEGERS = 0xFFFE, 1
_FORM = struct.Struct("<HHIIHHHHIH")
"""The beginning of WAVEFORMATEXTENSIBLE, up to the part of its subformat that differs between codecs."""
_VALID_BITS_AT = 18
_MAX_CHUNKS = 100
"""Before the format; writers put a handful there."""


@dataclass(frozen=True)
class ValidBits:
    """A size of samples that FFmpeg misreads: `valid` of the `stored` bits count; they lie at the top."""

    valid: int
    stored: int
    position: int
    """Where the file says `valid`, in two bytes."""

    def corrected(self, data: bytes, position: int) -> bytes:
        """`data`, which lies at `position` in the file, as if all stored bits were valid: the lower ones are zero."""
        start, stop = max(self.position, position), min(self.position + 2, position + len(data))
        if start >= stop:
            return data
        stored = struct.pack("<H", self.stored)[start - self.position : stop - self.position]
        return data[: start - position] + stored + data[stop - position :]


def valid_bits(file: BinaryIO, begin: int = 0) -> ValidBits | None:
    """What FFmpeg misreads in the WAV, RF64, BW64 or Wave64 file at `begin` of `file`; None for all other files."""
    position = _format_position(file, begin)
    file.seek(position or begin)
    data = file.read(_FORM.size)
    if position is None or len(data) < _FORM.size:
        return None
    tag, channels, _, _, align, stored, _, valid, _, kind = _FORM.unpack(data)
    if (tag, kind) != (_EXTENSIBLE, _INTEGERS) or align * 8 != channels * stored or stored not in (16, 24, 32):
        return None
    if not valid or -(-valid // 8) == stored // 8:
        return None
    return ValidBits(valid, stored, position + _VALID_BITS_AT)


def _format_position(file: BinaryIO, begin: int) -> int | None:
    """Where the content of the chunk "fmt " begins."""
    file.seek(begin)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
        position, name_bytes, size_form, padding = begin + 12, 4, "<I", 2
    elif head[:4] == b"riff" and head[4:8] == bytes.fromhex("2e91cf11"):
        position, name_bytes, size_form, padding = begin + 40, 16, "<Q", 8
    else:
        return None
    head_bytes, end = name_bytes + struct.calcsize(size_form), file.seek(0, os.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        if position + head_bytes > end:
            break
        file.seek(position)
        head = file.read(head_bytes)
        if head.startswith(b"fmt "):
            return position + head_bytes
        (size,) = struct.unpack_from(size_form, head, name_bytes)
        # The sizes of Wave64 count their chunk's head.
        position += max(size, head_bytes) if name_bytes == 16 else head_bytes + size
        position += -(position - begin) % padding
    return None
