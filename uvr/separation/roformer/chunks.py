"""Divides a song into overlapping chunks, and adds up the estimates of the chunks.

The chunks are those of audio-separator 0.47.1 (`MDXCSeparator.demix`): each starts a fixed step after the one before,
the last one ends with the song, and estimates are weighted by a Hamming window. A sample is yielded as soon as no later
chunk can change it, so memory is needed for one chunk only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from uvr.audio.format import Block


@dataclass(frozen=True)
class Chunks:
    """The chunks of a song of `length` samples, `overlap` of which cover each sample."""

    length: int
    size: int
    """The samples of a chunk; a song that is shorter is a chunk of its own."""
    overlap: int

    @property
    def starts(self) -> list[int]:
        """The first sample of each chunk."""
        last = max(self.length - self.size, 0)
        step = max(self.size // self.overlap, 1)
        return [*range(0, last, step), last]

    def join(self, estimates: Iterable[Block]) -> Iterator[Block]:
        """The song's samples, in order, from one estimate of shape (stems · channels, `size`) for each of `starts`."""
        window = np.hamming(self.size).astype(np.float32)
        starts = self.starts
        total, weight = np.zeros((1, self.size), np.float32), np.zeros(self.size, np.float32)
        for start, following, estimate in zip(starts, [*starts[1:], self.length], estimates, strict=True):
            total = total + estimate * window
            weight = weight + window
            finished = following - start
            yield total[:, :finished] / weight[:finished]
            total, weight = (_without_first(each, min(finished, self.size)) for each in (total, weight))


def _without_first(buffer: Block, samples: int) -> Block:
    """`buffer` without its first samples, and with as many zeros at its end."""
    moved = np.zeros_like(buffer)
    moved[..., : buffer.shape[-1] - samples] = buffer[..., samples:]
    return moved
