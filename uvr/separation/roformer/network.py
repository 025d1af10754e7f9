"""A RoFormer computed by the native kernels, chunk by chunk, layer by layer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np

from uvr.errors import OutOfMemoryError
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.native.bindings import InstructionSet, KernelError
from uvr.separation.native.roformer import (
    BandMask,
    LinearLayer,
    NetworkSize,
    RoformerKernels,
    TransformerLayer,
    address,
    aligned,
)
from uvr.separation.roformer import reference
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.packed_weights import Arrays
from uvr.separation.roformer.packing import LINE, PANEL, plain_transformer, round_up, turns
from uvr.separation.roformer.reference import Spectrum
from uvr.separation.roformer.weights import Transformer

_MAX_THREADS = 256
"""The limit of the kernels."""

_BANDS_PER_STEP = 10
"""So many masks take less time than a layer."""


def no_step(_share: float) -> None:
    """The `on_step` of callers that do not need the progress."""


class RoformerNetwork:
    """A network for chunks of `frames` frames. The results do not depend on `threads`, of which 0 means one per core.

    `terms` are those of `packing`. Raises `LibraryError` if the kernels cannot be loaded, `OutOfMemoryError`, and
    `ValueError` if the arrays were packed for other terms.
    """

    def __init__(
        self,
        arrays: Arrays,
        shape: NetworkShape,
        bands: Bands,
        frames: int,
        *,
        threads: int = 0,
        terms: int = 0,
        instruction_set: InstructionSet = InstructionSet.BEST,
    ) -> None:
        self._arrays, self._shape, self._bands, self._frames, self._terms = arrays, shape, bands, frames, terms
        self._turns: dict[tuple[bytes, int], tuple[Floats, Floats]] = {}
        size = NetworkSize(frames, len(bands.bins), shape.dim, shape.heads, shape.dim_head, self._widest)
        threads = min(threads or usable_cores(), _MAX_THREADS)
        try:
            self._kernels = RoformerKernels(size, threads=threads, instruction_set=instruction_set, terms=terms)
        except KernelError as error:
            raise OutOfMemoryError(f"The network cannot be made ready: {error}.") from error
        self._steps = [*self._layers()]
        self._splits = [self._linear(f"split.{band}", width, shape.dim) for band, width in enumerate(bands.widths)]
        self._masks = [self._masks_of(stem) for stem in range(shape.num_stems)]
        self._features = aligned(frames, len(bands.bins), shape.dim)

    @property
    def frames(self) -> int:
        """The frames of a chunk."""
        return self._frames

    @property
    def bytes(self) -> int:
        """The memory of its workspaces."""
        return self._kernels.bytes

    @property
    def instruction_set(self) -> InstructionSet:
        """The widest instruction set that it uses."""
        return self._kernels.instruction_set

    def masks(self, spectrum: Spectrum, on_step: Callable[[float], None] = no_step) -> Spectrum:
        """The masks, of shape (stems, channels, bins, frames), for a spectrum of shape (channels, bins, frames).

        Calls `on_step` after each layer, and several times for each stem, with the share of the work that is done; an
        exception from it stops the work.
        """
        channels, bins, frames = spectrum.shape
        if (channels, bins, frames) != (self._shape.channels, self._shape.bins, self._frames):
            raise ValueError(f"a spectrum of shape {spectrum.shape} for a network of {self._frames} frames")
        features = self._split(spectrum)
        steps = len(self._steps) + self._shape.num_stems
        for number, step in enumerate(self._steps, start=1):
            features = self._transformed(step, features)
            on_step(number / steps)
        masks = np.empty((self._shape.num_stems, *spectrum.shape), np.complex64)
        for stem in range(self._shape.num_stems):

            def on_bands(share: float, done: int = len(self._steps) + stem) -> None:
                on_step((done + share) / steps)

            masks[stem] = self._mask_of(stem, features, on_bands)
        return masks

    @cached_property
    def _widest(self) -> int:
        shape, widths = self._shape, self._bands.widths
        hidden = 4 * shape.dim, shape.dim * shape.mlp_expansion_factor, shape.heads, shape.dim
        return max(*hidden, *(2 * round_up(width, PANEL) for width in widths))

    @cached_property
    def _columns(self) -> list[slice]:
        """Where the numbers of each band lie in a row that has those of all bands."""
        ends = np.cumsum(self._bands.widths)
        return [slice(int(end) - width, int(end)) for end, width in zip(ends, self._bands.widths, strict=True)]

    def _split(self, spectrum: Spectrum) -> Floats:
        numbers = np.ascontiguousarray(spectrum.transpose(2, 1, 0)).view(np.float32)
        numbers = numbers.reshape(self._frames, self._shape.bins, -1)
        inputs = aligned(self._frames, sum(self._bands.widths))
        for band, (bins, columns) in enumerate(zip(self._bands.bins, self._columns, strict=True)):
            inputs[:, columns] = numbers[:, bins[0] : bins[-1] + 1].reshape(self._frames, -1)
            self._kernels.split(self._splits[band], band, inputs, columns.start, self._features)
        return self._features

    def _transformed(self, step: TransformerLayer | Transformer, features: Floats) -> Floats:
        if isinstance(step, TransformerLayer):
            self._kernels.transform(step, features)
            return features
        tokens = features.reshape(1, -1, self._shape.dim)
        features[...] = reference.transformed(step, self._shape, tokens).reshape(features.shape)
        return features

    def _mask_of(self, stem: int, features: Floats, on_bands: Callable[[float], None]) -> Spectrum:
        shape, bands = self._shape, self._bands
        numbers = aligned(self._frames, sum(bands.widths))
        normalize, all_bands = shape.kind == "bs_roformer", range(len(bands.bins))
        for first in all_bands[::_BANDS_PER_STEP]:
            some = all_bands[first : first + _BANDS_PER_STEP]
            self._kernels.masks(self._masks[stem], shape.mask_layers, some, features, numbers, normalize=normalize)
            on_bands(some.stop / all_bands.stop)
        return self._mean_of_bands(numbers)

    def _mean_of_bands(self, numbers: Floats) -> Spectrum:
        """One mask, of shape (channels, bins, frames), from the numbers of all bands."""
        shape, bands = self._shape, self._bands
        total = np.zeros((self._frames, shape.bins, shape.channels), np.complex64)
        for bins, columns in zip(bands.bins, self._columns, strict=True):
            mask = np.ascontiguousarray(numbers[:, columns]).view(np.complex64)
            total[:, bins[0] : bins[-1] + 1] += mask.reshape(self._frames, len(bins), shape.channels)
        total /= bands.bands_of_bin[:, None]
        return total.transpose(2, 1, 0)

    def _layers(self) -> Iterator[TransformerLayer | Transformer]:
        shape = self._shape
        for number in range(shape.depth):
            name = f"blocks.{number}"
            if shape.linear_transformer_depth:
                yield plain_transformer(f"{name}.linear", self._arrays, shape.linear_transformer_depth)
            yield from self._transformer(f"{name}.time", shape.time_transformer_depth, self._frames)
            yield from self._transformer(f"{name}.frequency", shape.freq_transformer_depth, len(self._bands.bins))

    def _transformer(self, name: str, depth: int, positions: int) -> Iterator[TransformerLayer]:
        dim, heads, norm = self._shape.dim, self._shape.heads, self._arrays.get(f"{name}.norm")
        turned = 2 * round_up(self._shape.dim_head // 2, LINE)
        valued = round_up(self._shape.dim_head, PANEL)
        for number in range(depth):
            key = f"{name}.{number}"
            cosines, sines = self._turns_of(self._arrays[f"{key}.frequencies"], positions)
            is_last = number + 1 == depth
            yield TransformerLayer(
                self._linear(f"{key}.query_key_value", dim, heads * (2 * turned + valued)),
                self._linear(f"{key}.gates", dim, heads),
                self._linear(f"{key}.output", heads * valued, dim),
                self._linear(f"{key}.inner", dim, 4 * dim),
                self._linear(f"{key}.outer", 4 * dim, dim),
                address(cosines),
                address(sines),
                address(norm) if norm is not None and is_last else None,
                name.endswith("frequency"),
            )

    def _turns_of(self, frequencies: Floats, positions: int) -> tuple[Floats, Floats]:
        """The tables of most layers are the same, and are kept once."""
        key = frequencies.tobytes(), positions
        if key not in self._turns:
            cosines, sines = (np.ascontiguousarray(table) for table in turns(frequencies, positions))
            self._turns[key] = _aligned_copy(cosines), _aligned_copy(sines)
        return self._turns[key]

    def _linear(self, name: str, inputs: int, outputs: int) -> LinearLayer:
        weight, bias = self._arrays[f"{name}.weight"], self._arrays.get(f"{name}.bias")
        return LinearLayer.of(weight, bias, inputs, outputs, self._terms)

    def _masks_of(self, stem: int) -> ctypes.Array[BandMask]:
        shape, count = self._shape, self._shape.mask_layers
        hidden = [shape.dim * shape.mlp_expansion_factor] * (count - 1)
        masks = (BandMask * len(self._columns))()
        for band, columns in enumerate(self._columns):
            numbers = columns.stop - columns.start
            sizes = pairwise([shape.dim, *hidden, 2 * round_up(numbers, PANEL)])
            layers = [self._linear(f"masks.{stem}.{band}.{number}", *size) for number, size in enumerate(sizes)]
            masks[band] = BandMask((LinearLayer * count)(*layers), numbers, columns.start)
        return masks


def _aligned_copy(table: Floats) -> Floats:
    copy = aligned(*table.shape)
    copy[...] = table
    return copy
