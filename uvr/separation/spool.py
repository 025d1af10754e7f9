"""Samples that are needed again wait on disk, so that a song's length costs disk and not memory.

A spool is written once and then only read, also by other processes: it can be sent to them, its samples stay where they
are. Whoever made its folder removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from uvr.audio.format import MAX_BLOCK_SAMPLES, Block


@dataclass(frozen=True)
class Spool:
    """Float32 samples in the file `path`, the channels of each side by side."""

    path: Path
    channels: int
    samples: int
    """Per channel."""
    peak: float
    """The largest absolute value."""

    @classmethod
    def of(cls, blocks: Iterable[Block], path: Path, channels: int) -> Self:
        """Write `blocks`, of shape (`channels`, any number of samples), to the new file `path`."""
        samples, peak = 0, 0.0
        with path.open("xb") as file:
            for block in blocks:
                if block.shape[1]:
                    file.write(np.ascontiguousarray(block.T, dtype=np.float32).data)
                    samples += block.shape[1]
                    peak = max(peak, float(block.max()), -float(block.min()))
        return cls(path, channels, samples, peak)

    def read(self, start: int, stop: int) -> Block:
        """Samples `start` to `stop`, of shape (channels, stop - start); silence where there are none."""
        block = np.zeros((stop - start, self.channels), np.float32)
        first, last = max(start, 0), min(stop, self.samples)
        if first < last:
            with self.path.open("rb") as file:
                file.seek(first * self.channels * block.itemsize)
                file.readinto(block[first - start : last - start].data)
        return block.T

    def blocks(self) -> Iterator[Block]:
        """All samples in order, in blocks of up to 65536."""
        for start in range(0, self.samples, MAX_BLOCK_SAMPLES):
            yield self.read(start, min(start + MAX_BLOCK_SAMPLES, self.samples))
