"""Brings the weights of a RoFormer into the order in which the kernels read them (`native/kernels/roformer.h`).

What can be computed once is computed here: the gammas of the norms and the scale of the queries become part of the
weights behind them. The kernels take powers of 2 for those of e, so log2(e) is part of that scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.weights import (
    Attention,
    FeedForward,
    Linear,
    LinearAttention,
    RoformerWeights,
    Transformer,
)

FORMAT = 3
"""Changes with everything that changes the arrays or their names."""

PANEL = 32
"""Outputs are rounded up to it."""

LINE = 16
"""Outputs of the weights that lie side by side."""


NamedArrays = Iterator[tuple[str, Floats]]


def packed_arrays(weights: RoformerWeights, shape: NetworkShape) -> NamedArrays:
    """All arrays that the kernels need, one at a time, with the names by which `network` finds them."""
    for band, (norm, layer) in enumerate(zip(weights.band_norms, weights.band_inputs, strict=True)):
        yield from _linear(f"split.{band}", layer, norm)
    for number, block in enumerate(weights.blocks):
        if block.linear:
            yield from _plain_transformer(f"blocks.{number}.linear", block.linear)
        yield from _transformer(f"blocks.{number}.time", block.time, shape)
        yield from _transformer(f"blocks.{number}.frequency", block.frequency, shape)
    for stem, bands in enumerate(weights.masks):
        for band, layers in enumerate(bands):
            yield from _mask(f"masks.{stem}.{band}", layers, weights.final_norm)


def _transformer(name: str, transformer: Transformer, shape: NetworkShape) -> NamedArrays:
    for number, (attention, feed_forward) in enumerate(transformer.layers):
        assert isinstance(attention, Attention)
        key = f"{name}.{number}"
        yield f"{key}.query_key_value.weight", packed_heads(attention, shape)
        yield f"{key}.frequencies", attention.frequencies
        yield from _linear(f"{key}.gates", attention.gates, attention.norm)
        yield f"{key}.output.weight", packed_output(attention, shape)
        yield from _linear(f"{key}.inner", feed_forward.inner, feed_forward.norm)
        yield from _linear(f"{key}.outer", feed_forward.outer)
    if transformer.norm is not None:
        yield f"{name}.norm", padded_bias(transformer.norm)


def _plain_transformer(name: str, transformer: Transformer) -> NamedArrays:
    """A transformer with linear attention, which is computed with numpy: its arrays as they are."""
    for number, (attention, feed_forward) in enumerate(transformer.layers):
        assert isinstance(attention, LinearAttention)
        yield f"{name}.{number}.attention.norm", attention.norm
        yield f"{name}.{number}.query_key_value", attention.query_key_value.weight
        yield f"{name}.{number}.temperature", attention.temperature
        yield f"{name}.{number}.output", attention.output.weight
        yield f"{name}.{number}.feed.norm", feed_forward.norm
        for part, layer in (("inner", feed_forward.inner), ("outer", feed_forward.outer)):
            assert layer.bias is not None
            yield f"{name}.{number}.{part}.weight", layer.weight
            yield f"{name}.{number}.{part}.bias", layer.bias
    if transformer.norm is not None:
        yield f"{name}.norm", transformer.norm


def plain_transformer(name: str, arrays: Mapping[str, Floats], depth: int) -> Transformer:
    """The transformer with linear attention that was packed as `name`."""

    def layer(key: str) -> tuple[LinearAttention, FeedForward]:
        attention = LinearAttention(
            arrays[f"{key}.attention.norm"],
            Linear(arrays[f"{key}.query_key_value"]),
            arrays[f"{key}.temperature"],
            Linear(arrays[f"{key}.output"]),
        )
        inner, outer = (
            Linear(arrays[f"{key}.{part}.weight"], arrays[f"{key}.{part}.bias"]) for part in ("inner", "outer")
        )
        return attention, FeedForward(arrays[f"{key}.feed.norm"], inner, outer)

    return Transformer(tuple(layer(f"{name}.{number}") for number in range(depth)), arrays.get(f"{name}.norm"))


def _mask(name: str, layers: Sequence[Linear], norm: Floats | None) -> NamedArrays:
    for number, layer in enumerate(layers):
        gamma = norm if number == 0 else None
        if number + 1 < len(layers):
            yield from _linear(f"{name}.{number}", layer, gamma)
        else:
            weight, bias = gated(layer, gamma)
            yield f"{name}.{number}.weight", weight
            yield f"{name}.{number}.bias", bias


def _linear(name: str, layer: Linear, gamma: Floats | None = None) -> NamedArrays:
    """`gamma`: of the norm in front of the layer."""
    yield f"{name}.weight", packed(layer.weight if gamma is None else layer.weight * gamma)
    if layer.bias is not None:
        yield f"{name}.bias", padded_bias(layer.bias)


def round_up(count: int, multiple: int) -> int:
    """The next multiple that is at least `count`."""
    return -(-count // multiple) * multiple


def packed(weight: Floats) -> Floats:
    """A weight of shape (outputs, inputs), its outputs rounded up to 32, as [outputs / 16][inputs][16]."""
    outputs, inputs = weight.shape
    padded = np.zeros((round_up(outputs, PANEL), inputs), np.float32)
    padded[:outputs] = weight
    return np.ascontiguousarray(padded.reshape(-1, LINE, inputs).swapaxes(1, 2))


def padded_bias(bias: Floats) -> Floats:
    """A bias with zeros up to a multiple of 32."""
    return np.pad(bias, (0, round_up(bias.size, PANEL) - bias.size))


def packed_heads(attention: Attention, shape: NetworkShape) -> Floats:
    """The weights of queries, keys and values of all heads, one head after the other."""
    weight = attention.query_key_value.weight * attention.norm
    query, key, value = weight.reshape(3, shape.heads, shape.dim_head, shape.dim)
    query = query * np.float32(shape.dim_head**-0.5 * np.log2(np.e))
    parts = [
        part
        for head in range(shape.heads)
        for part in (_turned(query[head]), _turned(key[head]), _padded_rows(value[head], PANEL))
    ]
    return packed(np.concatenate(parts))


def packed_output(attention: Attention, shape: NetworkShape) -> Floats:
    """The weight behind the heads, whose values are rounded up to whole panels."""
    heads = attention.output.weight.reshape(-1, shape.heads, shape.dim_head)
    padding = round_up(shape.dim_head, PANEL) - shape.dim_head
    return packed(np.pad(heads, ((0, 0), (0, 0), (0, padding))).reshape(len(heads), -1))


def _turned(head: Floats) -> Floats:
    """The even rows, rounded up to 16, and then the odd ones."""
    return np.concatenate([_padded_rows(head[::2], LINE), _padded_rows(head[1::2], LINE)])


def _padded_rows(rows: Floats, multiple: int) -> Floats:
    return np.pad(rows, ((0, round_up(len(rows), multiple) - len(rows)), (0, 0)))


def turns(frequencies: Floats, positions: int) -> tuple[Floats, Floats]:
    """The cosines and sines by which each pair of values is turned at each position."""
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies
    padded = np.pad(angles, ((0, 0), (0, round_up(angles.shape[1], LINE) - angles.shape[1])))
    return np.cos(padded), np.sin(padded)


def gated(layer: Linear, gamma: Floats | None = None) -> tuple[Floats, Floats]:
    """The last layer of a mask estimator: its numbers, and behind them, from a multiple of 32 on, their gates."""
    assert layer.bias is not None
    numbers, gates = np.split(layer.weight if gamma is None else layer.weight * gamma, 2)
    biases: Sequence[Floats] = np.split(layer.bias, 2)
    weight = packed(np.concatenate([_padded_rows(numbers, PANEL), _padded_rows(gates, PANEL)]))
    return weight, np.concatenate([padded_bias(bias) for bias in biases])
