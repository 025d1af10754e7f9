"""Python bindings of the built kernels, by ctypes.

The functions have the names and the order of arguments of `kernels/tdfnet.h`. A status other than 0 is raised as
`KernelError`.
"""

from __future__ import annotations

import ctypes
import hashlib
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_size_t, c_void_p
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uvr.separation.instruction_sets import supported_by, widest_allowed
from uvr.separation.native.build import library_path

Array = NDArray[np.float32]

VERSION = 1
"""Version of the interface in tdfnet.h."""


class InstructionSet(IntEnum):
    """The instruction sets that the kernels are compiled for. BEST means the widest that this process may use."""

    BEST = 0
    BASELINE = 1
    AVX2 = 2
    AVX512 = 3
    NEON = 4
    AVX512_BF16 = 5
    AMX = 6


class AmxState(IntEnum):
    """`enum tdfnet_amx`: whether this process can use the tiles of AMX, or what is missing."""

    USABLE = 0
    MISSING = 1
    """The processor has none, or the virtual machine hides them."""
    NOT_SAVED = 2
    """The operating system does not save them when it switches threads."""
    REFUSED = 3
    """The system does not grant them to this process."""


class LibraryError(Exception):
    """The library is missing or cannot be loaded; the message says why."""


class KernelError(Exception):
    """A call of the kernels failed; the message says why."""


class _Arrays:
    """The ctypes argument type for a C-ordered float32 array or None. ctypes keeps the array alive during the call."""

    @classmethod
    def from_param(cls, array: Array | None) -> object:
        if array is None:
            return None
        if array.dtype != np.float32 or not array.flags.c_contiguous:
            raise TypeError("kernels take C-ordered float32 arrays")
        return array.ctypes.data_as(POINTER(c_float))


_LAYERS: dict[str, list[Any]] = {
    "pointwise": [c_int, c_int, _Arrays, _Arrays],
    "convolution": [c_int, _Arrays, _Arrays],
    "tdf": [c_int, *[_Arrays] * 8],
    "down": [c_int, _Arrays, _Arrays],
    "up": [c_int, _Arrays, _Arrays],
}
_RUN: list[Any] = [c_void_p, _Arrays, _Arrays]


@cache
def load() -> Library:
    """The library built from the current sources, loaded once per process. Raises `LibraryError`."""
    path = library_path()
    if not path.is_file():
        raise LibraryError("the kernels are not built: `make setup` builds them if there is a C compiler")
    try:
        return Library(path)
    except (OSError, AttributeError) as error:
        raise LibraryError(f"the kernels cannot be loaded: {error}") from error


class Library:
    """A loaded library. The caller must free the networks that it creates."""

    def __init__(self, path: Path) -> None:
        self.digest = hashlib.sha256(path.read_bytes()).digest()
        """Hash of the loaded file, even if the file is replaced later."""
        self._c = ctypes.CDLL(str(path))
        if self._c.tdfnet_version() != VERSION:
            raise LibraryError(f"the kernels have version {self._c.tdfnet_version()} of the interface, not {VERSION}")
        self._c.tdfnet_message.restype = c_char_p
        self._c.tdfnet_create.argtypes = [POINTER(c_void_p), *[c_int] * 6]
        self._c.tdfnet_bytes_of.restype = c_size_t
        for name in ("finish", "free", "isa_of", "terms_of", "threads_of", "bytes_of", "outputs_of"):
            getattr(self._c, f"tdfnet_{name}").argtypes = [c_void_p]
        self._c.tdfnet_free.restype = None
        self._c.tdfnet_run.argtypes = _RUN
        self._c.tdfnet_seconds_of.argtypes = [c_void_p, c_int, POINTER(c_double)]
        for name, arguments in _LAYERS.items():
            getattr(self._c, f"tdfnet_add_{name}").argtypes = [c_void_p, *arguments]

    @property
    def best(self) -> InstructionSet:
        """The instruction set that BEST means: the widest one of this processor, or that of NETWORK_ISA."""
        return InstructionSet[widest_allowed(self._c.tdfnet_best_isa()).upper()]

    @property
    def instruction_sets(self) -> list[InstructionSet]:
        """All instruction sets of this processor for which there are kernels, the widest first."""
        return [InstructionSet[name.upper()] for name in supported_by(self._c.tdfnet_best_isa())]

    @property
    def amx_state(self) -> AmxState:
        """Whether this process can use AMX."""
        return AmxState(self._c.tdfnet_amx_state())

    def resolved(self, instruction_set: InstructionSet) -> InstructionSet:
        """The instruction set itself, or the one that BEST means."""
        return self.best if instruction_set is InstructionSet.BEST else instruction_set

    def create(
        self, instruction_set: InstructionSet, threads: int, shape: tuple[int, int, int], terms: int = 0
    ) -> c_void_p:
        """Create a network without layers for input of `shape`: channels, bins, frames. `terms` as in tdfnet.h."""
        net = c_void_p()
        isa = self.resolved(instruction_set)
        self.check(self._c.tdfnet_create(ctypes.byref(net), isa, terms, threads, *shape))
        return net

    def add(self, net: c_void_p, layer: str, *arguments: object) -> None:
        """Append a layer by its name in tdfnet.h, such as "convolution"; its weights are copied."""
        self.check(getattr(self._c, f"tdfnet_add_{layer}")(net, *arguments))

    def finish(self, net: c_void_p) -> None:
        """Allocate the memory and start the threads of a complete network."""
        self.check(self._c.tdfnet_finish(net))

    def run(self, net: c_void_p, source: Array, result: Array) -> None:
        """Compute `result` from `source`, without holding Python's GIL."""
        self.check(self._c.tdfnet_run(net, source, result))

    def seconds_of(self, net: c_void_p, part: int) -> tuple[float, ...]:
        """What a part of the last run took on all threads together, and the steps of a convolution (see tdfnet.h)."""
        seconds = (c_double * 4)()
        self.check(self._c.tdfnet_seconds_of(net, part, seconds))
        return tuple(seconds)

    def free(self, net: c_void_p) -> None:
        """Free a network and end its threads."""
        self._c.tdfnet_free(net)

    def instruction_set_of(self, net: c_void_p) -> InstructionSet:
        """The widest instruction set that a network may use."""
        return InstructionSet(self._c.tdfnet_isa_of(net))

    def terms_of(self, net: c_void_p) -> int:
        """How many bfloat16 products make one of its products; 0 if it multiplies in float32."""
        return int(self._c.tdfnet_terms_of(net))

    def threads_of(self, net: c_void_p) -> int:
        """The number of threads of a network."""
        return int(self._c.tdfnet_threads_of(net))

    def bytes_of(self, net: c_void_p) -> int:
        """The memory that a finished network holds, in bytes."""
        return int(self._c.tdfnet_bytes_of(net))

    def outputs_of(self, net: c_void_p) -> int:
        """The number of output channels of the last layer."""
        return int(self._c.tdfnet_outputs_of(net))

    def function(self, name: str) -> Any:
        """A function of the library, with argument types of its own."""
        return self._c[name]

    def check(self, status: int) -> None:
        """Raise `KernelError` for a status that is an error."""
        if status:
            raise KernelError(self._c.tdfnet_message(status).decode())
