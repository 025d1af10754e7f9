"""Divides a song into overlapping segments, and adds up the estimates of the segments.

The segmentation is that of UVR (as in audio-separator 0.47.1): the song is padded with silence, each segment starts
three quarters of a segment after the one before, and estimates are weighted by a Hann window of the segment's actual
length. There are two differences: segments that contain only the silence after the song are left out, and a sample is
yielded as soon as no later segment can change it, so that memory is needed for two segments only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from uvr.audio.format import Block

OVERLAP = 0.25


@dataclass(frozen=True)
class Segmentation:
    """The segments of a song of `length` samples. Position 0 is the song's first sample.

    `segment` is the length of the network's input in samples. The estimate of its outer `trim` samples is unreliable,
    so the song is padded with at least that much silence at both ends.
    """

    length: int
    segment: int
    trim: int

    @property
    def step(self) -> int:
        """Samples from the start of one segment to the start of the next."""
        return int((1 - OVERLAP) * self.segment)

    @property
    def starts(self) -> range:
        """The start of each segment. The first one starts in the silence before the song."""
        return range(-self.trim, self.length, self.step)

    def join(self, estimates: Iterable[Block]) -> Iterator[Block]:
        """The song's samples, in order, from one estimate of shape (channels, `segment`) for each of `starts`."""
        total, weight = np.zeros((2, self.segment), np.float32), np.zeros(self.segment, np.float32)
        useful = self.segment - 2 * self.trim
        padded_end = self.length + useful + self.trim - self.length % useful
        position = -self.trim
        for position, estimate in zip(self.starts, estimates, strict=True):
            # A segment that extends beyond the padding is weighted only up to the end of the padding.
            window = _hann(min(self.segment, padded_end - position))
            total[:, : len(window)] += estimate[:, : len(window)] * window
            weight[: len(window)] += window
            yield self._mean(total, weight, position, self.step)
            total, weight = _shifted(total, self.step), _shifted(weight, self.step)
        yield self._mean(total, weight, position + self.step, self.segment - self.step)

    def _mean(self, total: Block, weight: Block, position: int, samples: int) -> Block:
        """The weighted mean of the first `samples` samples from `position` on, without those outside the song."""
        inside = slice(max(-position, 0), max(min(samples, self.length - position), 0))
        return total[:, inside] / weight[inside]


@lru_cache(maxsize=2)
def _hann(samples: int) -> Block:
    return np.hanning(samples).astype(np.float32)


def _shifted(buffer: Block, samples: int) -> Block:
    """`buffer` moved to the left by `samples`, with zeros at its end."""
    shifted = np.zeros_like(buffer)
    shifted[..., :-samples] = buffer[..., samples:]
    return shifted
