"""How a song is cut into overlapping segments, and how the segments' estimates become one signal again.

The segmentation is UVR's (as in audio-separator 0.47.1): the song is framed by silence, a segment starts every three
quarters of its length, estimates are weighted by a Hann window of the segment's actual length. What differs: segments
that lie wholly in the silence behind the song are never made, and a sample is given out as soon as no later segment can
change it, so that two segments are all that is held.
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
    """The segments of a song of `length` samples; position 0 is the song's first sample.

    `segment` is the network's input in samples. Its outer `trim` samples are unreliable, therefore the song is framed
    by at least that much silence.
    """

    length: int
    segment: int
    trim: int

    @property
    def step(self) -> int:
        """From the start of one segment to the start of the next, in samples."""
        return int((1 - OVERLAP) * self.segment)

    @property
    def starts(self) -> range:
        """Where each segment starts; the first begins in the silence before the song."""
        return range(-self.trim, self.length, self.step)

    def join(self, estimates: Iterable[Block]) -> Iterator[Block]:
        """The song's samples, in order, from one estimate of shape (channels, `segment`) for each of `starts`."""
        total, weight = np.zeros((2, self.segment), np.float32), np.zeros(self.segment, np.float32)
        position = -self.trim
        for position, estimate in zip(self.starts, estimates, strict=True):
            window = self._window(position)
            total[:, : len(window)] += estimate[:, : len(window)] * window
            weight[: len(window)] += window
            yield self._finished(total, weight, position, self.step)
            total, weight = _moved_on(total, self.step), _moved_on(weight, self.step)
        yield self._finished(total, weight, position + self.step, self.segment - self.step)

    def _window(self, start: int) -> Block:
        """A segment that reaches past the framing silence weighs only up to the silence's end."""
        useful = self.segment - 2 * self.trim
        framed_end = self.length + useful + self.trim - self.length % useful
        return _hann(min(self.segment, framed_end - start))

    def _finished(self, total: Block, weight: Block, position: int, samples: int) -> Block:
        """The weighted mean of the first `samples` samples, as far as they belong to the song."""
        inside = slice(max(-position, 0), max(min(samples, self.length - position), 0))
        return total[:, inside] / weight[inside]


@lru_cache(maxsize=2)
def _hann(samples: int) -> Block:
    return np.hanning(samples).astype(np.float32)


def _moved_on(buffer: Block, samples: int) -> Block:
    moved = np.zeros_like(buffer)
    moved[..., :-samples] = buffer[..., samples:]
    return moved
