"""WAV files made here byte by byte, in all forms that the mixer reads, and one of an hour that takes no disk."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.browser.range_server import Content

Samples = NDArray[np.float32]
RATE_HZ = 44100
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def noise(seconds: float, seed: int, *, rate_hz: int = RATE_HZ, channels: int = 2) -> Samples:
    """White noise of 16 bits, of shape (frames, channels): each part of it is found at one place only."""
    steps = np.random.default_rng(seed).integers(-16000, 16000, (round(seconds * rate_hz), channels))
    return (steps / 32768).astype(np.float32)


def wav(
    samples: Samples,
    *,
    rate_hz: int = RATE_HZ,
    bits: int = 16,
    is_float: bool = False,
    extensible: bool = False,
    rf64: bool = False,
    before: bytes = b"",
) -> bytes:
    """A WAV file of `samples`, of shape (frames, channels); `before` are chunks in front of the samples."""
    data = _packed(samples, bits, is_float=is_float)
    form = chunk(b"fmt ", _format(samples.shape[1], rate_hz, bits, is_float=is_float, extensible=extensible))
    size = 0xFFFFFFFF if rf64 else len(data)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), len(samples), 0)) if rf64 else b""
    body = b"WAVE" + ds64 + before + form + b"data" + struct.pack("<I", size) + data
    return (b"RF64" if rf64 else b"RIFF") + struct.pack("<I", 0xFFFFFFFF if rf64 else len(body)) + body


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def long_wav(seconds: int, seed: int) -> Content:
    """A stereo WAV of 16 bits that repeats one minute of noise, computed where it is read."""
    minute = _packed(noise(60, seed), 16, is_float=False)
    size = seconds * RATE_HZ * 4
    head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVE" + chunk(b"fmt ", _format(2, RATE_HZ, 16))
    head += b"data" + struct.pack("<I", size)
    return Content(len(head) + size, _repeating(head, minute))


def _repeating(head: bytes, part: bytes) -> Callable[[int, int], bytes]:
    def read(start: int, stop: int) -> bytes:
        found = head[start:stop]
        position = max(0, start - len(head))
        while len(found) < stop - start:
            at = position % len(part)
            found += part[at : at + stop - start - len(found)]
            position = at = position + len(part) - at
        return found

    return read


def _format(channels: int, rate_hz: int, bits: int, *, is_float: bool = False, extensible: bool = False) -> bytes:
    frame_bytes, codec = channels * bits // 8, _FLOAT if is_float else _PCM
    tag = _EXTENSIBLE if extensible else codec
    plain = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, bits)
    return plain + struct.pack("<HHIH", 22, bits, 0, codec) + _GUID_TAIL if extensible else plain


def _packed(samples: Samples, bits: int, *, is_float: bool) -> bytes:
    if is_float:
        return samples.astype("<f4").tobytes()
    integers = np.rint(samples.astype(np.float64) * 2 ** (bits - 1)).astype("<i4")
    if bits == 24:
        return integers.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return integers.astype(f"<i{bits // 8}").tobytes()
