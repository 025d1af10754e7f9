"""The short-time Fourier transform computed by the native kernels (`kernels/stft.h`)."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, Structure, c_int, c_void_p
from typing import Any

import numpy as np

from uvr.audio.format import Block
from uvr.separation.mdx.stft import Spectrum, Stft, periodic_hann
from uvr.separation.native import bindings
from uvr.separation.native.bindings import Array, InstructionSet, KernelError, Library


class _Shape(Structure):
    """`struct stft_shape`."""

    _fields_ = tuple((name, c_int) for name in ("size", "hop", "bins", "frames"))


class NativeStft:
    """The same as `Stft`, several times as fast: its results differ by rounding only.

    Raises `LibraryError` if the kernels cannot be loaded, and `KernelError` if they cannot transform frames of `n_fft`
    samples.
    """

    def __init__(
        self,
        *,
        n_fft: int,
        hop_length: int,
        dim_f: int,
        frames: int,
        threads: int = 1,
        window: int = 0,
        instruction_set: int = InstructionSet.BEST,
    ) -> None:
        library = bindings.load()
        create, free = (library.function(f"stft_{name}") for name in ("create", "free"))
        create.argtypes = [POINTER(c_void_p), c_int, POINTER(_Shape), c_void_p]
        free.argtypes, free.restype = [c_void_p], None
        shape, stft = _Shape(n_fft, hop_length, dim_f, frames), c_void_p()
        hann, isa = periodic_hann(window or n_fft, n_fft), library.resolved(InstructionSet(instruction_set))
        library.check(create(ctypes.byref(stft), isa, ctypes.byref(shape), hann.ctypes.data))
        # Not at the end of the process, when a daemon thread may still be in a call.
        weakref.finalize(self, free, stft).atexit = False
        self._forward, self._inverse = (_transform(library, stft, name) for name in ("forward", "inverse"))
        self._samples, self._spectrum = hop_length * (frames - 1), (2, dim_f, frames)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="stft")

    def forward(self, segment: Block, out: Spectrum | None = None) -> Spectrum:
        """The spectrum of `segment`, of shape (channels, samples), padded by reflecting `n_fft` / 2 samples per end.

        It is written to `out` if that is given: new memory costs more time than the transform.
        """
        if segment.shape[1:] != (self._samples,):
            raise ValueError(f"a segment of shape {segment.shape} for {self._samples} samples")
        shape = (2 * len(segment), *self._spectrum[1:])
        spectrum = np.empty(shape, np.float32) if out is None else out
        parts = spectrum.reshape(len(segment), *self._spectrum)
        list(self._threads.map(self._forward, segment, parts))
        return spectrum

    def inverse(self, spectrum: Spectrum) -> Block:
        """The segment, of shape (channels, samples), whose windowed frames are closest to `spectrum`."""
        parts = spectrum.reshape(-1, *self._spectrum)
        segment = np.empty((len(parts), self._samples), np.float32)
        list(self._threads.map(self._inverse, parts, segment))
        return segment


def _transform(library: Library, stft: c_void_p, name: str) -> Callable[[Array, Array], None]:
    """A function that transforms one channel without holding Python's GIL."""
    function: Any = library.function(f"stft_{name}")
    function.argtypes = [c_void_p] * 3

    def transform(source: Array, result: Array) -> None:
        source = np.ascontiguousarray(source, np.float32)
        if result.dtype != np.float32 or not result.flags.c_contiguous:
            raise TypeError("kernels write to C-ordered float32 arrays")
        library.check(function(stft, source.ctypes.data, result.ctypes.data))

    return transform


def fastest_stft(**shape: int) -> NativeStft | Stft:
    """The transform of the kernels, or numpy's if they cannot divide frames of this length. Takes what `Stft` takes.

    Raises `LibraryError` if the kernels cannot be loaded.
    """
    try:
        return NativeStft(**shape)
    except KernelError:
        return Stft(**shape)
