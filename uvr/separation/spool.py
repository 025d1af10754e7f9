"""Samples that are needed twice wait on disk, so that a song's length costs disk and not memory.

The file has no name: it disappears with the process that made it, however that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from uvr.audio.format import BLOCK_SAMPLES, Block


class Spool:
    """An append-only run of float32 samples on disk beside the output; knows its length and its peak.

    Both are maintained while appending: `samples` per channel, `peak` the largest absolute value.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        # Closed by __exit__: a spool is a context manager itself.
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".spool-")  # noqa: SIM115
        self.channels = channels
        self.samples = 0
        self.peak = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, block: Block) -> None:
        """Add `block`, of shape (channels, samples), at the end."""
        if not block.shape[1]:
            return
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(block.T, dtype=np.float32).data)
        self.samples += block.shape[1]
        self.peak = max(self.peak, float(np.abs(block).max()))

    def read(self, start: int, stop: int) -> Block:
        """Samples `start` to `stop`, of shape (channels, stop - start); silence where there are none."""
        block = np.zeros((stop - start, self.channels), np.float32)
        first, last = max(start, 0), min(stop, self.samples)
        if first < last:
            self._file.seek(first * self.channels * block.itemsize)
            self._file.readinto(block[first - start : last - start].data)
        return block.T

    def blocks(self) -> Iterator[Block]:
        """All samples in order, in blocks of up to 65536."""
        for start in range(0, self.samples, BLOCK_SAMPLES):
            yield self.read(start, min(start + BLOCK_SAMPLES, self.samples))
