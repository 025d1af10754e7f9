"""Which bins of a spectrum belong to which band.

The bands of BS-RoFormer stand side by side. Those of Mel-Band RoFormer are the triangles of a mel filter bank, of which
only the feet matter: neighbours overlap, and the masks of a bin are averaged over its bands.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from uvr.separation.roformer.configuration import NetworkShape


class Bands:
    """The bands of a network."""

    def __init__(self, shape: NetworkShape) -> None:
        if shape.freqs_per_bands:
            edges = np.cumsum((0, *shape.freqs_per_bands))
            self.bins = [np.arange(low, high) for low, high in pairwise(edges)]
        else:
            assert shape.num_bands
            self.bins = mel_bands(shape.num_bands, shape.stft_n_fft, shape.sample_rate)
        """The bins of each band."""
        self._channels = shape.channels
        self._spectrum_bins = shape.bins

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """How many real numbers the network sees of each band in a frame: real and imaginary parts, all channels."""
        return tuple(2 * self._channels * len(bins) for bins in self.bins)

    @cached_property
    def bands_of_bin(self) -> NDArray[np.float32]:
        """In how many bands each bin is."""
        counts = np.zeros(self._spectrum_bins, np.float32)
        for bins in self.bins:
            counts[bins] += 1
        return counts


def mel_bands(count: int, n_fft: int, sample_rate: int) -> list[NDArray[np.int64]]:
    """The bins in which each triangle of Slaney's mel filter bank is above zero; the outermost bins always belong.

    The filter bank is that of librosa.filters.mel, with which the networks were trained (Slaney, Auditory Toolbox 2:
    linear below 1 kHz, logarithmic above).
    """
    edges = _hertz(np.linspace(_mel(0.0), _mel(sample_rate / 2), count + 2))
    frequencies = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    bins = []
    for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
        belongs = np.minimum(rising, falling) > 0
        belongs[0] |= band == 0
        belongs[-1] |= band == count - 1
        bins.append(np.flatnonzero(belongs))
    return bins


_LINEAR_STEP_HZ = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_STEP_HZ
_LOG_STEP = np.log(6.4) / 27


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_STEP_HZ
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _LOG_STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_STEP_HZ, above)
