"""A ConvTDFNet computed by the native kernels; a `uvr.separation.mdx.backends.Network`."""

from __future__ import annotations

import weakref
from functools import partial
from typing import assert_never

import numpy as np

from uvr.separation.cpu_limits import usable_cores
from uvr.separation.mdx.stft import Spectrum
from uvr.separation.native import bindings
from uvr.separation.native.architecture import Architecture, Convolution, Down, Layer, Linear, Pointwise, Tdf, Up
from uvr.separation.native.bindings import Array, InstructionSet

_MAX_THREADS = 256
"""The limit of the kernels."""

SIX_TERMS = 6
"""Products of three bfloat16 parts of each number: as exact as float32, and by estimate faster with AMX."""


class NativeNetwork:
    """A loaded network. `threads` 0 means one per core that this process may use. `terms` is how many bfloat16 products
    make one product, 0 or 6 (see tdfnet.h); None means what is fastest on the instruction set.

    Uses the widest instruction set that fits a layer, up to `instruction_set`. The result does not depend
    on the number of threads. Raises `LibraryError` if the kernels cannot be loaded, and `KernelError` if they cannot
    run `architecture`.
    """

    provider = "cpu"
    backend = "native"

    def __init__(
        self,
        architecture: Architecture,
        *,
        threads: int = 0,
        instruction_set: InstructionSet = InstructionSet.BEST,
        terms: int | None = None,
    ) -> None:
        self._library = bindings.load()
        if terms is None:
            terms = SIX_TERMS if self._library.resolved(instruction_set) is InstructionSet.AMX else 0
        self._layers = len(architecture.layers)
        self._shape = (architecture.channels, architecture.bins, architecture.frames)
        threads = min(threads or usable_cores(), _MAX_THREADS)
        self._net = self._library.create(instruction_set, threads, self._shape, terms)
        try:
            for layer in architecture.layers:
                self._add(layer)
            self._library.finish(self._net)
        except BaseException:
            self._library.free(self._net)
            raise
        # Not at the end of the process, when a daemon thread may still be in `run`.
        weakref.finalize(self, self._library.free, self._net).atexit = False
        self._outputs = self._library.outputs_of(self._net)

    @property
    def instruction_set(self) -> InstructionSet:
        """The widest instruction set that it may use."""
        return self._library.instruction_set_of(self._net)

    @property
    def terms(self) -> int:
        """How many bfloat16 products make one product; 0 if it multiplies in float32."""
        return self._library.terms_of(self._net)

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self._library.threads_of(self._net)

    @property
    def bytes(self) -> int:
        """The memory that it holds."""
        return self._library.bytes_of(self._net)

    @property
    def seconds(self) -> list[tuple[float, ...]]:
        """Where the time of the last run went: for the import, each layer in order and the export, what all threads
        together spent on it; of a convolution also its input transform, its products and its output transform.
        """
        return [self._library.seconds_of(self._net, part) for part in range(self._layers + 2)]

    def run(self, spectrum: Spectrum) -> Spectrum:
        """Estimate the spectrum of the primary stem from that of the mixture; both have shape (4, dim_f, dim_t)."""
        if spectrum.shape != self._shape:
            raise ValueError(f"a spectrum of shape {spectrum.shape} for a network of {self._shape}")
        estimate = np.empty((self._outputs, *self._shape[1:]), np.float32)
        self._library.run(self._net, np.ascontiguousarray(spectrum, np.float32), estimate)
        return estimate

    def warm_up(self) -> None:
        """Nothing to do: everything is prepared."""

    def _add(self, layer: Layer) -> None:
        add = partial(self._library.add, self._net)
        match layer:
            case Pointwise(weight, bias, relu):
                add("pointwise", len(weight), int(relu), weight, bias)
            case Convolution(weight, bias):
                add("convolution", len(weight), weight, bias)
            case Tdf(narrow, wide):
                add("tdf", narrow.weight.shape[1], *_arrays(narrow), *_arrays(wide))
            case Down(weight, bias):
                add("down", len(weight), weight, bias)
            case Up(weight, bias):
                add("up", weight.shape[1], weight, bias)
            case _:
                assert_never(layer)


def _arrays(linear: Linear) -> tuple[Array | None, ...]:
    return linear.weight, linear.bias, linear.scale, linear.shift
