"""Samples on disk: a long song takes disk space instead of memory.

A spool is written once and only read afterwards. Other processes can read it, too: only its description is pickled.
The owner of its folder deletes it.
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
    """Float32 samples in the file `path`, with interleaved channels."""

    path: Path
    channels: int
    samples: int
    """Samples per channel."""
    peak: float
    """The largest absolute value."""

    @classmethod
    def of(cls, blocks: Iterable[Block], path: Path, channels: int) -> Self:
        """Write `blocks`, each of shape (`channels`, any number of samples), to the new file `path`."""
        samples, peak = 0, 0.0
        with path.open("xb") as file:
            for block in blocks:
                if block.shape[1]:
                    file.write(np.ascontiguousarray(block.T, dtype=np.float32).data)
                    samples += block.shape[1]
                    peak = max(peak, float(block.max()), -float(block.min()))
        return cls(path, channels, samples, peak)

    def read(self, start: int, stop: int) -> Block:
        """The samples `start` to `stop`, of shape (channels, stop - start); zeros outside the file."""
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
