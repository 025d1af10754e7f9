"""Python bindings of the kernels for RoFormers (`kernels/roformer.h`), by ctypes.

The caller keeps the arrays to which the structures point for as long as it uses them. A status other than 0 is raised
as `KernelError`.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, Structure, c_int, c_long, c_size_t, c_void_p
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from uvr.separation.native import bindings
from uvr.separation.native.bindings import Array, InstructionSet

_ALIGNMENT = 64
_LINE = 16
_STEP = 32
"""Inputs of a tile of weights."""

Weight = NDArray[Any]
"""Packed, of float32, or of bfloat16 as uint16."""


class LinearLayer(Structure):
    """`struct roformer_linear`."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("inputs", c_int), ("outputs", c_int))

    @classmethod
    def of(cls, weight: Weight, bias: Array | None, inputs: int, outputs: int, terms: int = 0) -> LinearLayer:
        """The layer of a packed `weight`, of whose inputs and outputs the first ones count.

        Raises `ValueError` if it is not a weight of that size for `terms`.
        """
        lines, tiles = 2 * -(-outputs // (2 * _LINE)), -(-inputs // _STEP)
        expected = (lines, tiles, 1 if terms == 1 else 2, _LINE, _STEP) if terms else (lines, inputs, _LINE)
        if weight.shape != expected or weight.dtype != (np.uint16 if terms else np.float32):
            raise ValueError(f"a {weight.dtype} weight of shape {weight.shape} for {terms} terms and shape {expected}")
        return cls(address(weight), None if bias is None else address(bias), inputs, outputs)


class BandMask(Structure):
    """`struct roformer_mask`."""

    _fields_ = (("layers", POINTER(LinearLayer)), ("numbers", c_int), ("column", c_int))


class TransformerLayer(Structure):
    """`struct roformer_layer`."""

    _fields_ = (
        *((name, LinearLayer) for name in ("query_key_value", "gates", "output", "inner", "outer")),
        *((name, c_void_p) for name in ("cosines", "sines", "norm")),
        ("along_bands", c_int),
    )


class NetworkSize(Structure):
    """`struct roformer_shape`."""

    _fields_ = tuple((name, c_int) for name in ("frames", "bands", "dim", "heads", "dim_head", "widest"))


_ARGUMENTS: dict[str, list[Any]] = {
    "create": [POINTER(c_void_p), c_int, c_int, c_int, POINTER(NetworkSize)],
    "free": [c_void_p],
    "isa_of": [c_void_p],
    "bytes_of": [c_void_p],
    "split": [c_void_p, POINTER(LinearLayer), c_int, c_void_p, c_long, c_void_p],
    "transform": [c_void_p, POINTER(TransformerLayer), c_void_p],
    "masks": [c_void_p, POINTER(BandMask), *[c_int] * 4, c_void_p, c_void_p, c_long],
}


class RoformerKernels:
    """The workspaces and threads for chunks of one size, and for weights that are packed for `terms`.

    Raises `LibraryError` if the kernels cannot be loaded, and `KernelError` if memory or threads are missing.
    """

    def __init__(self, size: NetworkSize, *, threads: int, instruction_set: InstructionSet, terms: int = 0) -> None:
        self._library = bindings.load()
        self._functions = {name: self._library.function(f"roformer_{name}") for name in _ARGUMENTS}
        for name, arguments in _ARGUMENTS.items():
            self._functions[name].argtypes = arguments
        self._functions["free"].restype = None
        self._functions["bytes_of"].restype = c_size_t
        self._net = c_void_p()
        isa = self._library.resolved(instruction_set)
        self._call("create", ctypes.byref(self._net), isa, terms, threads, ctypes.byref(size), of_network=False)
        # Not at the end of the process, when a daemon thread may still be in a call.
        weakref.finalize(self, self._functions["free"], self._net).atexit = False

    @property
    def instruction_set(self) -> InstructionSet:
        """The widest instruction set that is used."""
        return InstructionSet(self._functions["isa_of"](self._net))

    @property
    def bytes(self) -> int:
        """The memory of the workspaces."""
        return int(self._functions["bytes_of"](self._net))

    def split(self, layer: LinearLayer, band: int, inputs: Array, column: int, features: Array) -> None:
        """Write the features of `band` from its `inputs` (frames, all), which begin at `column`."""
        self._call("split", layer, band, address(inputs) + 4 * column, inputs.shape[1], address(features))

    def transform(self, layer: TransformerLayer, features: Array) -> None:
        """Change the features by one layer of attention and feed-forward, without holding Python's GIL."""
        self._call("transform", layer, address(features))

    def masks(
        self,
        masks: ctypes.Array[BandMask],
        layers: int,
        bands: range,
        features: Array,
        outputs: Array,
        *,
        normalize: bool,
    ) -> None:
        """Write the masks of some of the bands to their columns of `outputs` (frames, all), without holding the GIL."""
        first = ctypes.byref(masks[bands.start])
        places = address(features), address(outputs), outputs.shape[1]
        self._call("masks", first, layers, normalize, bands.start, len(bands), *places)

    def _call(self, name: str, *arguments: object, of_network: bool = True) -> None:
        first = (self._net,) if of_network else ()
        self._library.check(self._functions[name](*first, *arguments))


def address(array: Array | Weight) -> int:
    """Where the values of `array` lie, which the kernels read in C order and aligned."""
    is_known = array.dtype in (np.float32, np.uint16)
    if not is_known or not array.flags.c_contiguous or array.ctypes.data % _ALIGNMENT:
        raise TypeError("kernels take aligned C-ordered arrays of float32, or of bfloat16 as uint16")
    return int(array.ctypes.data)


def aligned(*shape: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """An array of zeros that begins at a multiple of 64 bytes."""
    bytes_ = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(bytes_ + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + bytes_].view(dtype).reshape(shape)
