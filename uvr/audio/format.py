"""The types that describe decoded audio: a block of samples, a sample format, and a file's audio format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

MAX_BLOCK_SAMPLES = 65536
"""The maximum number of samples per channel in a block, where the block size is free."""

Block: TypeAlias = NDArray[np.float32]
"""Samples of shape (channels, samples); full scale is -1.0 to 1.0, larger values are kept."""


class SampleFormat(Enum):
    """How a WAV file stores one sample; the value is FFmpeg's name of the codec."""

    INT16 = "pcm_s16le"
    INT24 = "pcm_s24le"
    INT32 = "pcm_s32le"
    FLOAT32 = "pcm_f32le"

    @property
    def bits(self) -> int:
        """Bits per sample."""
        return int(self.value[5:7])

    @property
    def max_sample(self) -> float:
        """The maximum sample value that can be stored, as float32; the minimum is -1.0, or -inf for floats."""
        return float("inf") if self is SampleFormat.FLOAT32 else float(np.float32(1.0 - 2.0 ** (1 - self.bits)))

    def quantized(self, block: Block) -> NDArray[Any]:
        """The samples of `block` as FFmpeg's frames store them: 24-bit samples occupy the upper bits of 32."""
        if self is SampleFormat.FLOAT32:
            return block
        scale = 2 ** (self.bits - 1)
        # Float32 represents every integer of up to 24 bits, but not every 32-bit integer.
        exact = block.astype(np.float64) if self is SampleFormat.INT32 else block
        values: NDArray[Any] = np.clip(np.rint(exact * scale), -scale, scale - 1)
        return values * 256 if self is SampleFormat.INT24 else values


@dataclass(frozen=True)
class AudioFormat:
    """The sample rate in Hz, 1 or 2 channels, and how the file stores its samples."""

    sample_rate: int
    channels: int
    sample_format: SampleFormat
