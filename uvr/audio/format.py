"""The types that describe decoded audio: a block of samples, a sample format, and a file's audio format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

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


@dataclass(frozen=True)
class AudioFormat:
    """The sample rate in Hz, 1 or 2 channels, and how the file stores its samples."""

    sample_rate: int
    channels: int
    sample_format: SampleFormat
