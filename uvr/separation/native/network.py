"""A ConvTDFNet computed by the native kernels; a `uvr.separation.mdx.backends.Network`."""

from __future__ import annotations

import weakref
from ctypes import c_void_p
from typing import assert_never

import numpy as np

from uvr.separation.cpu_limits import usable_cores
from uvr.separation.mdx.stft import Spectrum
from uvr.separation.native import bindings
from uvr.separation.native.architecture import Architecture, Convolution, Down, Layer, Linear, Pointwise, Tdf, Up
from uvr.separation.native.bindings import Array, InstructionSet, Library

_MAX_THREADS = 256
"""That the kernels take."""


class NativeNetwork:
    """A loaded network; `threads` 0 means one for every core that this process may use.

    The instruction set is the widest that may be used; the result does not depend on the number of threads.

    Raises `LibraryError` when there are no kernels here, and `KernelError` when they cannot run `architecture`.
    """

    provider = "cpu"
    backend = "native"

    def __init__(
        self,
        architecture: Architecture,
        *,
        threads: int = 0,
        instruction_set: InstructionSet = InstructionSet.BEST,
    ) -> None:
        self._library = bindings.load()
        self._net = self._made(architecture, instruction_set, min(threads or usable_cores(), _MAX_THREADS))
        # Not at the end of the process: a daemon thread may still be in `run` then, and the memory goes anyway.
        weakref.finalize(self, self._library.free, self._net).atexit = False
        self._shape = (architecture.channels, architecture.bins, architecture.frames)
        self._outputs = self._library.outputs_of(self._net)

    @property
    def instruction_set(self) -> InstructionSet:
        """The widest that it uses."""
        return self._library.instruction_set_of(self._net)

    @property
    def threads(self) -> int:
        """How many threads it computes with."""
        return self._library.threads_of(self._net)

    @property
    def bytes(self) -> int:
        """How much memory it holds."""
        return self._library.bytes_of(self._net)

    def run(self, spectrum: Spectrum) -> Spectrum:
        """The spectrum of the primary stem in that of the mixture, both of shape (4, dim_f, dim_t)."""
        if spectrum.shape != self._shape:
            raise ValueError(f"a spectrum of shape {spectrum.shape} for a network of {self._shape}")
        estimate = np.empty((self._outputs, *self._shape[1:]), np.float32)
        self._library.run(self._net, np.ascontiguousarray(spectrum, np.float32), estimate)
        return estimate

    def warm_up(self) -> None:
        """Nothing: all is set up."""

    def _made(self, architecture: Architecture, instruction_set: InstructionSet, threads: int) -> c_void_p:
        shape = (architecture.channels, architecture.bins, architecture.frames)
        net = self._library.create(instruction_set, threads, shape)
        try:
            for layer in architecture.layers:
                _add(self._library, net, layer)
            self._library.finish(net)
        except BaseException:
            self._library.free(net)
            raise
        return net


def _add(kernels: Library, net: c_void_p, layer: Layer) -> None:
    match layer:
        case Pointwise(weight, bias, relu):
            kernels.add(net, "pointwise", len(weight), int(relu), weight, bias)
        case Convolution(weight, bias):
            kernels.add(net, "convolution", len(weight), weight, bias)
        case Tdf(narrow, wide):
            kernels.add(net, "tdf", narrow.weight.shape[1], *_arrays(narrow), *_arrays(wide))
        case Down(weight, bias):
            kernels.add(net, "down", len(weight), weight, bias)
        case Up(weight, bias):
            kernels.add(net, "up", weight.shape[1], weight, bias)
        case _:
            assert_never(layer)


def _arrays(linear: Linear) -> tuple[Array | None, ...]:
    return linear.weight, linear.bias, linear.scale, linear.shift
