"""The short-time Fourier transform of MDX-Net: converts samples to spectra for the network, and back.

Computes the same numbers as `torch.stft(center=True)` and `torch.istft` with a periodic Hann window, in float32 and
with numpy only. One FFT call transforms many frames of a channel, and each channel has its own thread, so the
transforms take little time and memory compared with the network. Beside a network on our own kernels,
`uvr.separation.native.stft` does the same in a third to a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from uvr.audio.format import Block

Spectrum = NDArray[np.float32]
"""Shape (2 · channels, dim_f, frames): real and imaginary part of the first channel, then of the next."""

_BAND_BINS = 128
"""How many bins are transposed at a time. More rows would evict each other from the processor's cache."""
_BATCH_FRAMES = 64
"""How many frames are transformed at a time. With all of them at once, a segment takes 15 MB more and the same time."""


class Stft:
    """Transforms segments of `frames` frames, which are `hop_length` · (frames - 1) samples.

    Spectra contain only the lowest `dim_f` of the `n_fft` / 2 + 1 bins; the inverse sets the others to zero. The window
    has `window` samples, 0 meaning `n_fft`, and stands in the middle of a frame.
    """

    def __init__(
        self, *, n_fft: int, hop_length: int, dim_f: int, frames: int, threads: int = 1, window: int = 0
    ) -> None:
        self._n_fft = n_fft
        self._hop = hop_length
        self._dim_f = dim_f
        self._frames = frames
        self._inside = slice(n_fft // 2, n_fft // 2 + hop_length * (frames - 1))
        self._window = periodic_hann(window or n_fft, n_fft)
        self._scaled_window = self._window * np.float32(n_fft)
        self._bands = [slice(start, min(start + _BAND_BINS, dim_f)) for start in range(0, dim_f, _BAND_BINS)]
        self._batches = [slice(start, min(start + _BATCH_FRAMES, frames)) for start in range(0, frames, _BATCH_FRAMES)]
        squares = np.broadcast_to(self._window**2, (frames, n_fft))
        self._squares = self._overlap_add([squares])[self._inside]
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="stft")

    def forward(self, segment: Block, out: Spectrum | None = None) -> Spectrum:
        """The spectrum of `segment`, of shape (channels, samples), padded by reflecting `n_fft` / 2 samples per end.

        It is written to `out` if that is given, which saves the time for new memory.
        """
        spectrum = np.empty((2 * len(segment), self._dim_f, self._frames), np.float32) if out is None else out
        parts = spectrum.reshape(len(segment), 2, self._dim_f, self._frames)
        list(self._threads.map(self._forward, segment, parts))
        return spectrum

    def inverse(self, spectrum: Spectrum) -> Block:
        """The segment, of shape (channels, samples), whose windowed frames are closest to `spectrum`.

        The least-squares solution of Griffin and Lim (1984): the frames are windowed again, added, and divided by the
        sum of the squared windows.
        """
        parts = spectrum.reshape(-1, 2, self._dim_f, self._frames)
        return np.stack(list(self._threads.map(self._inverse, parts)))

    def _forward(self, channel: NDArray[np.float32], parts: NDArray[np.float32]) -> None:
        """Write the spectrum of one channel, of shape (samples,), to `parts`, of shape (2, dim_f, frames)."""
        # Contiguous, because np.pad keeps the memory order, and interleaved channels take twice as long.
        padded = np.pad(np.ascontiguousarray(channel), self._n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, self._n_fft)[:: self._hop]
        for batch in self._batches:
            # norm="forward", because with the default numpy computes in float64, which takes three times as long.
            bins = np.fft.rfft(frames[batch] * self._scaled_window, norm="forward")
            for band in self._bands:
                parts[0, band, batch] = bins[:, band].real.T
                parts[1, band, batch] = bins[:, band].imag.T

    def _inverse(self, parts: NDArray[np.float32]) -> NDArray[np.float32]:
        """One channel, of shape (samples,), from its `parts`, of shape (2, dim_f, frames)."""
        whole = self._overlap_add(self._frames_of(parts[:, :, batch]) for batch in self._batches)[self._inside]
        whole /= self._squares
        return whole

    def _frames_of(self, parts: NDArray[np.float32]) -> NDArray[np.float32]:
        """The windowed frames, of shape (frames, n_fft), of a batch of shape (2, dim_f, frames)."""
        bins = np.empty((parts.shape[2], self._dim_f), np.complex64)
        for band in self._bands:
            bins[:, band].real = parts[0, band].T
            bins[:, band].imag = parts[1, band].T
        frames = np.fft.irfft(bins, self._n_fft).astype(np.float32, copy=False)
        frames *= self._window
        return frames

    def _overlap_add(self, batches: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The sum of the frames of all `batches`, of shape (frames, n_fft), each starting a hop after the one before.

        A frame is divided into pieces of one hop. The n-th pieces of all frames do not overlap, so one addition adds
        them all.
        """
        pieces, start = -(-self._n_fft // self._hop), 0
        total = np.zeros((self._frames + pieces, self._hop), np.float32)
        for frames in batches:
            for piece in range(pieces):
                part = frames[:, piece * self._hop : (piece + 1) * self._hop]
                total[start + piece : start + piece + len(part), : part.shape[1]] += part
            start += len(frames)
        return total.reshape(-1)


def periodic_hann(size: int, frame: int) -> NDArray[np.float32]:
    """A window of `size` samples in the middle of a frame of `frame` samples."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    before = (frame - size) // 2
    return np.pad(hann, (before, frame - size - before)).astype(np.float32)
