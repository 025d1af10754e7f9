"""Whether FFmpeg may skip its search for compressed sound in a WAV file, which takes 24 ms at every opening.

A WAV file that claims 16-bit samples may hold DTS, AC-3 or MPEG audio instead. FFmpeg tries its formats on the first 32
packets to find out. Only files that certainly hold samples may skip that; any doubt means the full search.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from uvr.audio.wav_valid_bits import chunk_position

_FORMAT = struct.Struct("<HHIIHH")
"""The beginning of WAVEFORMAT: tag, channels, sample rate, bytes per second, bytes per frame, bits per sample."""
_PROBED_PACKETS, _PACKETS_PER_S = 32, 10
"""FFmpeg's packets of a WAV file are a tenth of a second or less, but have one frame at least."""
_MIN_SEARCHED_BYTES, _MAX_SEARCHED_BYTES = 2**19, 2**22
_BLOCK_BYTES = 2**17

_DTS_SYNC_WORDS = (
    bytes.fromhex("7ffe8001"),
    bytes.fromhex("fe7f0180"),
    bytes.fromhex("1fffe800"),
    bytes.fromhex("ff1f00e8"),
)
"""In words of 16 or 14 bits of either byte order. FFmpeg finds DTS behind other sound, too."""
_FRAME_START = re.compile(
    rb"\x0b\x77|\x77\x0b"  # AC-3 and E-AC-3, of either byte order
    rb"|\xff[\xe0-\xfe]|\xff\xff[\x10-\xef]"  # MPEG audio and ADTS; FFFF also starts with the sample -1
    rb"|\x56[\xe0-\xff]"  # LOAS
    rb"|" + rb"|".join(map(re.escape, _DTS_SYNC_WORDS))
)
_FRAME_START_BYTES = 4


def holds_samples(file: BinaryIO, start: int) -> bool:
    """Whether the RIFF or RF64 file at `start` is a WAV file whose data certainly is not compressed.

    False for any other file, for damaged headers, and where all that FFmpeg would search is silence.
    """
    file.seek(start)
    header = file.read(12)
    if header[:4] not in (b"RIFF", b"RF64") or header[8:] != b"WAVE":
        return False
    format_position, data_position = (chunk_position(file, start, name) for name in (b"fmt ", b"data"))
    if format_position is None or data_position is None or format_position > data_position:
        return False
    file.seek(format_position)
    searched_bytes = _probed_bytes(file.read(_FORMAT.size))
    if not 0 < searched_bytes <= _MAX_SEARCHED_BYTES:
        return False
    file.seek(data_position)
    return _is_not_compressed(_overlapping_blocks(file, max(searched_bytes, _MIN_SEARCHED_BYTES)))


def _probed_bytes(header: bytes) -> int:
    """The maximum size of the packets that FFmpeg would search; 0 for a damaged header."""
    if len(header) < _FORMAT.size:
        return 0
    _, channels, rate_hz, _, frame_bytes, _ = _FORMAT.unpack(header)
    packet_bytes = max(-(-channels * 2 * rate_hz // _PACKETS_PER_S), frame_bytes)
    return _PROBED_PACKETS * packet_bytes if channels and rate_hz and frame_bytes else 0


def _overlapping_blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next `size` bytes; each block starts with the last bytes of the one before, where a word may begin."""
    end = b""
    while size > 0 and (block := file.read(min(size, _BLOCK_BYTES))):
        yield end + block
        end, size = block[1 - _FRAME_START_BYTES :], size - len(block)


def _is_not_compressed(blocks: Iterator[bytes]) -> bool:
    silent = True
    for block in blocks:
        if any(word in block for word in _DTS_SYNC_WORDS):
            return False
        sound = block.lstrip(b"\0") if silent else b""
        if sound:
            # Too few bytes to see a whole start: doubt.
            if len(sound) < _FRAME_START_BYTES or _FRAME_START.match(sound):
                return False
            silent = False
    return not silent
