"""Samples on disk: a long song takes disk space instead of memory.

A spool is written once and only read afterwards. Other processes can read it, too: only its description is pickled.
The owner of its folder deletes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
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
        return cls.several(blocks, [path], channels)[0]

    @classmethod
    def several(cls, blocks: Iterable[Block], paths: Sequence[Path], channels: int) -> list[Self]:
        """Write `blocks` to the new files `paths`, to each the next `channels` rows."""
        samples, peaks = 0, [0.0] * len(paths)
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("xb")) for path in paths]
            for block in blocks:
                if block.shape[1]:
                    samples += block.shape[1]
                    for number, part in enumerate(np.split(block, len(paths))):
                        files[number].write(np.ascontiguousarray(part.T, dtype=np.float32).data)
                        peaks[number] = max(peaks[number], float(part.max()), -float(part.min()))
        return [cls(path, channels, samples, peak) for path, peak in zip(paths, peaks, strict=True)]

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
