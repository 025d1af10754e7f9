"""Peaks: a small picture of a stem, so that a page draws its waveform without fetching and decoding the audio.

Files have audiowaveform's binary format, version 2, with 8 bits and one channel, which its tools and waveform-data.js
read (https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md): for each group of samples the lowest and the
highest of all channels. They are computed while a stem is written, block by block; an hour takes 0.6 MB in the finer
resolution and 40 kB in the coarser one.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from uvr.audio.format import Block

FINE_SAMPLES, COARSE_SAMPLES = 512, 8192
"""Samples per pair in the two resolutions: for songs of some minutes or a close view, and for hours."""

_HEADER = struct.Struct("<iIiiIi")
_VERSION, _HAS_8_BITS = 2, 1
_FULL_SCALE = 128

_Samples = NDArray[np.float32]


class PeaksWriter:
    """Writes the peaks of one stem in both resolutions; the files are complete when the `with` statement ends.

    If the statement ends by an exception, both files are removed.
    """

    def __init__(self, fine: Path, coarse: Path, sample_rate_hz: int) -> None:
        self._fine = _Resolution(fine, FINE_SAMPLES)
        self._coarse = _Resolution(coarse, COARSE_SAMPLES, values_per_pair=COARSE_SAMPLES // FINE_SAMPLES)
        self._sample_rate_hz = sample_rate_hz

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self._coarse.write(*self._fine.write_rest())
            self._coarse.write_rest()
        for resolution in (self._fine, self._coarse):
            resolution.close(self._sample_rate_hz, is_complete=exc is None)

    def write(self, block: Block) -> None:
        """Add `block`, of shape (channels, samples) and of any length; what is not a number counts as silence."""
        samples = np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0)
        self._coarse.write(*self._fine.write(samples.min(axis=0), samples.max(axis=0)))


class _Resolution:
    """One file: the lowest and the highest of each `values_per_pair` values, and what is left for the next pair."""

    def __init__(self, path: Path, samples_per_pair: int, values_per_pair: int | None = None) -> None:
        self._path = path
        self._samples_per_pair = samples_per_pair
        self._values_per_pair = values_per_pair or samples_per_pair
        self._rest = np.zeros((2, 0), np.float32)
        self._pairs = 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(_HEADER.size))

    def write(self, lowest: _Samples, highest: _Samples) -> tuple[_Samples, _Samples]:
        """Add values; returns the pairs that they complete, as two arrays."""
        values = np.concatenate([self._rest, np.stack([lowest, highest])], axis=1)
        whole = values.shape[1] // self._values_per_pair * self._values_per_pair
        self._rest = values[:, whole:].copy()
        return self._write_pairs(values[:, :whole].reshape(2, -1, self._values_per_pair))

    def write_rest(self) -> tuple[_Samples, _Samples]:
        """Write the last pair, of fewer values; returns it like `write`."""
        groups = self._rest.reshape(2, -1, max(1, self._rest.shape[1]))
        self._rest = self._rest[:, :0]
        return self._write_pairs(groups)

    def close(self, sample_rate_hz: int, *, is_complete: bool) -> None:
        with self._file:
            self._file.seek(0)
            self._file.write(
                _HEADER.pack(_VERSION, _HAS_8_BITS, sample_rate_hz, self._samples_per_pair, self._pairs, 1)
            )
        if not is_complete:
            self._path.unlink(missing_ok=True)

    def _write_pairs(self, groups: NDArray[np.float32]) -> tuple[_Samples, _Samples]:
        lowest, highest = groups[0].min(axis=1), groups[1].max(axis=1)
        steps = np.rint(np.stack([lowest, highest], axis=1) * _FULL_SCALE)
        self._file.write(steps.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype(np.int8).tobytes())
        self._pairs += len(lowest)
        return lowest, highest
