"""Bindings of `kernels/peak.h`: what this processor can do at most, with which benchmarks compare the kernels."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_int, c_size_t
from enum import IntEnum

from uvr.separation.native import bindings
from uvr.separation.native.bindings import InstructionSet


class Peak(IntEnum):
    """`enum peak_kind`: a loop of multiply-adds in registers, three that move arrays, and one that multiplies tiles."""

    MULTIPLY = 0
    READ = 1
    COPY = 2
    TRIAD = 3
    TILES = 4


def peak_rate(
    peak: Peak, instruction_set: InstructionSet, threads: int, *, array_bytes: int = 1 << 28, seconds: float = 0.3
) -> float:
    """The highest number of multiply-adds, or of bytes moved, in a second, found by trying for `seconds`.

    `array_bytes` is the size of each array. Raises `LibraryError` or `KernelError`.
    """
    library = bindings.load()
    function = library.function("peak_rate")
    function.argtypes = [c_int, c_int, c_int, c_size_t, c_double, POINTER(c_double)]
    rate = c_double()
    library.check(function(library.resolved(instruction_set), threads, peak, array_bytes, seconds, ctypes.byref(rate)))
    return rate.value
