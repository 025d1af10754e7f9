"""What a decoded file was made of, so that what is written from it can be made the same way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MAX_BLOCK_SAMPLES = 65536
"""The most samples per channel that are handed on at once where a block's size is free."""

Block: TypeAlias = NDArray[np.float32]
"""Samples of shape (channels, samples); full scale is -1.0 to 1.0, what lies beyond is kept."""


class SampleFormat(Enum):
    """How one sample is stored in a WAV file; the value is FFmpeg's name of the codec."""

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
        """The largest sample that can be stored, as float32 sees it; the smallest is -1.0, or -inf for floats."""
        return float("inf") if self is SampleFormat.FLOAT32 else float(np.float32(1.0 - 2.0 ** (1 - self.bits)))


@dataclass(frozen=True)
class AudioFormat:
    """Sample rate in Hz, 1 or 2 channels, and how samples are stored."""

    sample_rate: int
    channels: int
    sample_format: SampleFormat
