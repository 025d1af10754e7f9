"""The weights of a RoFormer by what they do, from the tensors of a checkpoint.

Every tensor is used exactly once and has the shape that the configuration demands. One that is missing, has another
shape or is left over means that the configuration belongs to another checkpoint, and the message names it. All of this
is checked first. Then the parts of the network are read one at a time, when they are asked for, because a checkpoint in
half precision would need twice its size if all of them were in memory as float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar, overload

import numpy as np

from uvr.errors import PermanentError
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats, Tensor, shown
from uvr.separation.roformer.configuration import NetworkShape

MAX_TENSOR_NUMBERS = 1 << 24
"""The largest tensor of published models has a sixth of it."""

Part = TypeVar("Part", covariant=True)


@dataclass(frozen=True)
class Linear:
    """A linear layer: `weight` of shape (outputs, inputs)."""

    weight: Floats
    bias: Floats | None = None


@dataclass(frozen=True)
class Attention:
    """Gated attention with rotary embeddings; `frequencies` has one angle for each pair of values of a head."""

    norm: Floats
    query_key_value: Linear
    gates: Linear
    output: Linear
    frequencies: Floats


@dataclass(frozen=True)
class LinearAttention:
    """Attention among the values of a head instead of the frames; `temperature` has one value for each head."""

    norm: Floats
    query_key_value: Linear
    temperature: Floats
    output: Linear


@dataclass(frozen=True)
class FeedForward:
    """Two linear layers with a GELU between them."""

    norm: Floats
    inner: Linear
    outer: Linear


@dataclass(frozen=True)
class Transformer:
    """Layers of attention and feed-forward, and the norm of Mel-Band RoFormer behind them."""

    layers: tuple[tuple[Attention | LinearAttention, FeedForward], ...]
    norm: Floats | None


@dataclass(frozen=True)
class Block:
    """A transformer along time and one along the bands; in some networks one along both before them."""

    linear: Transformer | None
    time: Transformer
    frequency: Transformer


class Parts(Sequence[Part]):
    """Parts of a network. Each is read from the checkpoint when it is asked for, and not kept."""

    def __init__(self, count: int, read: Callable[[int], Part]) -> None:
        self._numbers = range(count)
        self._read = read

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> Part: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Part]: ...
    def __getitem__(self, number: int | slice) -> Part | Sequence[Part]:
        if isinstance(number, slice):
            return [self._read(each) for each in self._numbers[number]]
        return self._read(self._numbers[number])


@dataclass(frozen=True)
class RoformerWeights:
    """A whole network."""

    band_norms: Sequence[Floats]
    band_inputs: Sequence[Linear]
    blocks: Sequence[Block]
    final_norm: Floats | None
    masks: Sequence[Sequence[Sequence[Linear]]]
    """For each stem and each band, the layers of the mask estimator; the last one has two values for each output."""


def read_weights(tensors: Mapping[str, Tensor], shape: NetworkShape, bands: Bands, name: str) -> RoformerWeights:
    """The weights in the checkpoint called `name`. Raises `PermanentError` if they do not fit the configuration."""
    expected = tensor_sizes(shape, bands)
    for key, size in expected.items():
        _require(key, size, tensors.get(key), name)
    if unused := tensors.keys() - expected.keys():
        raise PermanentError(
            f"{name} has {len(unused)} tensors that its YAML file does not describe, such as {shown(min(unused))}: the "
            "YAML file belongs to another checkpoint."
        )
    return _Reader(lambda key, *_size: tensors[key].read(), shape, bands).read()


def tensor_sizes(shape: NetworkShape, bands: Bands) -> dict[str, tuple[int, ...]]:
    """The size of every tensor in the checkpoint of a network, by its name."""
    sizes: dict[str, tuple[int, ...]] = {}

    def note(key: str, *size: int) -> Floats:
        sizes[key] = size
        return np.broadcast_to(np.float32(0), size)  # takes no memory

    network = _Reader(note, shape, bands).read()
    for _ in chain(network.band_norms, network.band_inputs, network.blocks, *network.masks):
        pass
    return sizes


def _require(key: str, size: tuple[int, ...], tensor: Tensor | None, name: str) -> None:
    if tensor is None:
        raise PermanentError(f"{name} has no tensor {key}: its YAML file belongs to another checkpoint.")
    if tensor.size != size:
        raise PermanentError(f"{name}: the tensor {key} has the shape {tensor.size}, but its YAML file demands {size}.")
    if math.prod(size) > MAX_TENSOR_NUMBERS:
        raise PermanentError(
            f"{name}: the tensor {key} has {math.prod(size)} numbers; the service runs networks with up to "
            f"{MAX_TENSOR_NUMBERS} in one tensor."
        )


class _Reader:
    """Builds a network from `take(key, *size)`, which gives the tensor of that name and size."""

    def __init__(self, take: Callable[..., Floats], shape: NetworkShape, bands: Bands) -> None:
        self._take = take
        self._shape = shape
        self._bands = bands

    def read(self) -> RoformerWeights:
        take, shape, widths = self._take, self._shape, self._bands.widths

        def split(band: int) -> str:
            return f"band_split.to_features.{band}"

        return RoformerWeights(
            band_norms=Parts(len(widths), lambda band: take(f"{split(band)}.0.gamma", widths[band])),
            band_inputs=Parts(len(widths), lambda band: self._linear(f"{split(band)}.1", widths[band], shape.dim)),
            blocks=Parts(shape.depth, lambda number: self._block(f"layers.{number}")),
            final_norm=take("final_norm.gamma", shape.dim) if shape.kind == "bs_roformer" else None,
            masks=[Parts(len(widths), partial(self._mask_layers, stem)) for stem in range(shape.num_stems)],
        )

    def _block(self, key: str) -> Block:
        shape = self._shape
        has_linear = int(shape.linear_transformer_depth > 0)
        return Block(
            self._transformer(f"{key}.0", shape.linear_transformer_depth, linear=True) if has_linear else None,
            self._transformer(f"{key}.{has_linear}", shape.time_transformer_depth),
            self._transformer(f"{key}.{has_linear + 1}", shape.freq_transformer_depth),
        )

    def _transformer(self, key: str, depth: int, *, linear: bool = False) -> Transformer:
        layers = [f"{key}.layers.{number}" for number in range(depth)]
        attention = self._linear_attention if linear else self._attention
        norm = None if self._shape.kind == "bs_roformer" else self._take(f"{key}.norm.gamma", self._shape.dim)
        return Transformer(tuple((attention(f"{each}.0"), self._feed_forward(f"{each}.1")) for each in layers), norm)

    def _attention(self, key: str) -> Attention:
        take, linear, shape = self._take, self._linear, self._shape
        inner = shape.heads * shape.dim_head
        return Attention(
            norm=take(f"{key}.norm.gamma", shape.dim),
            query_key_value=linear(f"{key}.to_qkv", shape.dim, 3 * inner, bias=False),
            gates=linear(f"{key}.to_gates", shape.dim, shape.heads),
            output=linear(f"{key}.to_out.0", inner, shape.dim, bias=False),
            frequencies=take(f"{key}.rotary_embed.freqs", shape.dim_head // 2),
        )

    def _linear_attention(self, key: str) -> LinearAttention:
        take, linear, shape = self._take, self._linear, self._shape
        inner = shape.heads * shape.dim_head
        return LinearAttention(
            norm=take(f"{key}.norm.gamma", shape.dim),
            query_key_value=linear(f"{key}.to_qkv.0", shape.dim, 3 * inner, bias=False),
            temperature=np.ravel(take(f"{key}.temperature", shape.heads, 1, 1)),
            output=linear(f"{key}.to_out.1", inner, shape.dim, bias=False),
        )

    def _feed_forward(self, key: str) -> FeedForward:
        take, linear, dim = self._take, self._linear, self._shape.dim
        return FeedForward(
            norm=take(f"{key}.net.0.gamma", dim),
            inner=linear(f"{key}.net.1", dim, 4 * dim),
            outer=linear(f"{key}.net.4", 4 * dim, dim),
        )

    def _mask_layers(self, stem: int, band: int) -> tuple[Linear, ...]:
        key, outputs = f"mask_estimators.{stem}.to_freqs.{band}.0", 2 * self._bands.widths[band]
        shape, count = self._shape, self._shape.mask_layers
        sizes = (shape.dim, *[shape.dim * shape.mlp_expansion_factor] * (count - 1), outputs)
        return tuple(self._linear(f"{key}.{2 * number}", sizes[number], sizes[number + 1]) for number in range(count))

    def _linear(self, key: str, inputs: int, outputs: int, *, bias: bool = True) -> Linear:
        return Linear(
            self._take(f"{key}.weight", outputs, inputs), self._take(f"{key}.bias", outputs) if bias else None
        )
