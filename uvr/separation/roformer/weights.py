"""The weights of a RoFormer by what they do, from the tensors of a checkpoint.

Every tensor is used exactly once and has the shape that the configuration demands. One that is missing, has another
shape or is left over means that the configuration belongs to another checkpoint, and the message names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from uvr.errors import PermanentError
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats, Tensor
from uvr.separation.roformer.configuration import NetworkShape


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


@dataclass(frozen=True)
class RoformerWeights:
    """A whole network."""

    band_norms: tuple[Floats, ...]
    band_inputs: tuple[Linear, ...]
    blocks: tuple[Block, ...]
    final_norm: Floats | None
    masks: tuple[tuple[tuple[Linear, ...], ...], ...]
    """For each stem and each band, the layers of the mask estimator; the last one has two values for each output."""


def read_weights(tensors: Mapping[str, Tensor], shape: NetworkShape, bands: Bands, name: str) -> RoformerWeights:
    """The weights in the checkpoint called `name`. Raises `PermanentError` if they do not fit the configuration."""
    source = _Source(tensors, name)
    weights = _Reader(source, shape, bands).read()
    if source.unused:
        raise PermanentError(
            f"{name} has {len(source.unused)} tensors that its YAML file does not describe, such as "
            f"{min(source.unused)[:100]}: the YAML file belongs to another checkpoint."
        )
    return weights


class _Source:
    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        self._tensors = tensors
        self._name = name
        self.unused = set(tensors)

    def take(self, key: str, *size: int) -> Floats:
        tensor = self._tensors.get(key)
        if tensor is None:
            raise PermanentError(f"{self._name} has no tensor {key}: its YAML file belongs to another checkpoint.")
        if tensor.size != size:
            raise PermanentError(
                f"{self._name}: the tensor {key} has the shape {tensor.size}, but its YAML file demands {size}."
            )
        self.unused.discard(key)
        return tensor.read()

    def linear(self, key: str, inputs: int, outputs: int, *, bias: bool = True) -> Linear:
        return Linear(self.take(f"{key}.weight", outputs, inputs), self.take(f"{key}.bias", outputs) if bias else None)


class _Reader:
    def __init__(self, source: _Source, shape: NetworkShape, bands: Bands) -> None:
        self._source = source
        self._shape = shape
        self._bands = bands

    def read(self) -> RoformerWeights:
        take, linear, shape, widths = self._source.take, self._source.linear, self._shape, self._bands.widths
        splits = [f"band_split.to_features.{number}" for number in range(len(widths))]
        return RoformerWeights(
            band_norms=tuple(take(f"{key}.0.gamma", width) for key, width in zip(splits, widths, strict=True)),
            band_inputs=tuple(linear(f"{key}.1", width, shape.dim) for key, width in zip(splits, widths, strict=True)),
            blocks=tuple(self._block(f"layers.{number}") for number in range(shape.depth)),
            final_norm=take("final_norm.gamma", shape.dim) if shape.kind == "bs_roformer" else None,
            masks=tuple(
                tuple(
                    self._mask_layers(f"mask_estimators.{stem}.to_freqs.{number}.0", 2 * width)
                    for number, width in enumerate(widths)
                )
                for stem in range(shape.num_stems)
            ),
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
        norm = None if self._shape.kind == "bs_roformer" else self._source.take(f"{key}.norm.gamma", self._shape.dim)
        return Transformer(tuple((attention(f"{each}.0"), self._feed_forward(f"{each}.1")) for each in layers), norm)

    def _attention(self, key: str) -> Attention:
        take, linear, shape = self._source.take, self._source.linear, self._shape
        inner = shape.heads * shape.dim_head
        return Attention(
            norm=take(f"{key}.norm.gamma", shape.dim),
            query_key_value=linear(f"{key}.to_qkv", shape.dim, 3 * inner, bias=False),
            gates=linear(f"{key}.to_gates", shape.dim, shape.heads),
            output=linear(f"{key}.to_out.0", inner, shape.dim, bias=False),
            frequencies=take(f"{key}.rotary_embed.freqs", shape.dim_head // 2),
        )

    def _linear_attention(self, key: str) -> LinearAttention:
        take, linear, shape = self._source.take, self._source.linear, self._shape
        inner = shape.heads * shape.dim_head
        return LinearAttention(
            norm=take(f"{key}.norm.gamma", shape.dim),
            query_key_value=linear(f"{key}.to_qkv.0", shape.dim, 3 * inner, bias=False),
            temperature=np.ravel(take(f"{key}.temperature", shape.heads, 1, 1)),
            output=linear(f"{key}.to_out.1", inner, shape.dim, bias=False),
        )

    def _feed_forward(self, key: str) -> FeedForward:
        take, linear, dim = self._source.take, self._source.linear, self._shape.dim
        return FeedForward(
            norm=take(f"{key}.net.0.gamma", dim),
            inner=linear(f"{key}.net.1", dim, 4 * dim),
            outer=linear(f"{key}.net.4", 4 * dim, dim),
        )

    def _mask_layers(self, key: str, outputs: int) -> tuple[Linear, ...]:
        shape, count = self._shape, self._shape.mask_layers
        sizes = (shape.dim, *[shape.dim * shape.mlp_expansion_factor] * (count - 1), outputs)
        return tuple(
            self._source.linear(f"{key}.{2 * number}", sizes[number], sizes[number + 1]) for number in range(count)
        )
