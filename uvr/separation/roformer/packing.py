"""Brings the weights of a RoFormer into the order in which the kernels read them (`native/kernels/roformer.h`).

What can be computed once is computed here: the gammas of the norms and the scale of the queries become part of the
weights behind them. The kernels take powers of 2 for those of e, so log2(e) is part of that scale.

`terms` says what the weights of the kernels are made of: 0 for float32; 1 for the numbers rounded to bfloat16; 3 for
those and, behind them, what the rounding left, rounded to bfloat16 as well. A bfloat16 is the upper half of a float32
in a uint16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

FORMAT = 4
"""Changes with everything that changes the arrays or their names."""

PANEL = 32
"""Outputs are rounded up to it."""

LINE = 16
"""Outputs of the weights that lie side by side."""

STEP = 32
"""Inputs of a tile of bfloat16 numbers, to whose multiples they are rounded up."""

Packed = NDArray[Any]
"""float32, or the weights of the kernels in bfloat16 as uint16."""

NamedArrays = Iterator[tuple[str, Packed]]


def packed_arrays(weights: RoformerWeights, shape: NetworkShape, terms: int = 0) -> NamedArrays:
    """All arrays that the kernels need, one at a time, with the names by which `network` finds them."""
    for band, (norm, layer) in enumerate(zip(weights.band_norms, weights.band_inputs, strict=True)):
        yield from _linear(f"split.{band}", layer, terms, norm)
    for number, block in enumerate(weights.blocks):
        if block.linear:
            yield from _plain_transformer(f"blocks.{number}.linear", block.linear)
        yield from _transformer(f"blocks.{number}.time", block.time, shape, terms)
        yield from _transformer(f"blocks.{number}.frequency", block.frequency, shape, terms)
    for stem, bands in enumerate(weights.masks):
        for band, layers in enumerate(bands):
            yield from _mask(f"masks.{stem}.{band}", layers, terms, weights.final_norm)


def _transformer(name: str, transformer: Transformer, shape: NetworkShape, terms: int) -> NamedArrays:
    for number, (attention, feed_forward) in enumerate(transformer.layers):
        assert isinstance(attention, Attention)
        key = f"{name}.{number}"
        yield f"{key}.query_key_value.weight", packed(joined_heads(attention, shape), terms)
        yield f"{key}.frequencies", attention.frequencies
        yield from _linear(f"{key}.gates", attention.gates, terms, attention.norm)
        yield f"{key}.output.weight", packed(padded_output(attention, shape), terms)
        yield from _linear(f"{key}.inner", feed_forward.inner, terms, feed_forward.norm)
        yield from _linear(f"{key}.outer", feed_forward.outer, terms)
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


def _mask(name: str, layers: Sequence[Linear], terms: int, norm: Floats | None) -> NamedArrays:
    for number, layer in enumerate(layers):
        is_last = number + 1 == len(layers)
        yield from _linear(f"{name}.{number}", gated(layer) if is_last else layer, terms, None if number else norm)


def _linear(name: str, layer: Linear, terms: int, gamma: Floats | None = None) -> NamedArrays:
    """`gamma`: of the norm in front of the layer."""
    yield f"{name}.weight", packed(layer.weight if gamma is None else layer.weight * gamma, terms)
    if layer.bias is not None:
        yield f"{name}.bias", padded_bias(layer.bias)


def round_up(count: int, multiple: int) -> int:
    """The next multiple that is at least `count`."""
    return -(-count // multiple) * multiple


def packed(weight: Floats, terms: int = 0) -> Packed:
    """A weight of shape (outputs, inputs), its outputs rounded up to 32.

    In float32: [outputs / 16][inputs][16]. In bfloat16: [outputs / 16][inputs / 32][1 or, for three terms, 2][16][32],
    its inputs rounded up to 32, too.
    """
    outputs, inputs = weight.shape
    padded = np.zeros((round_up(outputs, PANEL), round_up(inputs, STEP) if terms else inputs), np.float32)
    padded[:outputs, :inputs] = weight
    if not terms:
        return np.ascontiguousarray(padded.reshape(-1, LINE, inputs).swapaxes(1, 2))
    high = _rounded(padded)
    tiles = [_tiles(high)]
    if terms == 3:
        tiles.append(_tiles(_rounded(padded - high.view(np.float32))))
    return np.stack(tiles, axis=2) if len(tiles) > 1 else tiles[0][:, :, None]


def _rounded(numbers: Floats) -> NDArray[np.uint32]:
    """The bits of the nearest bfloat16 numbers as float32, to even ones in the middle between two."""
    bits = numbers.view(np.uint32)
    rounded: NDArray[np.uint32] = bits >> np.uint32(16)
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded &= 0xFFFF0000
    return rounded


def _tiles(rounded: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Tiles of 32 inputs and 16 outputs: each line has a pair of inputs for every output."""
    pairs = rounded[:, ::2] >> 16
    pairs |= rounded[:, 1::2]
    tiles = pairs.reshape(-1, LINE, pairs.shape[1] // LINE, LINE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(tiles).view(np.uint16)


def padded_bias(bias: Floats) -> Floats:
    """A bias with zeros up to a multiple of 32."""
    return np.pad(bias, (0, round_up(bias.size, PANEL) - bias.size))


def joined_heads(attention: Attention, shape: NetworkShape) -> Floats:
    """The weight of queries, keys and values of all heads, one head after the other."""
    weight = attention.query_key_value.weight * attention.norm
    query, key, value = weight.reshape(3, shape.heads, shape.dim_head, shape.dim)
    query = query * np.float32(shape.dim_head**-0.5 * np.log2(np.e))
    parts = [
        part
        for head in range(shape.heads)
        for part in (_turned(query[head]), _turned(key[head]), _padded_rows(value[head], PANEL))
    ]
    return np.concatenate(parts)


def padded_output(attention: Attention, shape: NetworkShape) -> Floats:
    """The weight behind the heads, whose values are rounded up to whole panels."""
    heads = attention.output.weight.reshape(-1, shape.heads, shape.dim_head)
    padding = round_up(shape.dim_head, PANEL) - shape.dim_head
    return np.pad(heads, ((0, 0), (0, 0), (0, padding))).reshape(len(heads), -1)


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


def gated(layer: Linear) -> Linear:
    """The last layer of a mask estimator: its numbers, and behind them, from a multiple of 32 on, their gates."""
    assert layer.bias is not None
    numbers, gates = np.split(layer.weight, 2)
    biases: Sequence[Floats] = np.split(layer.bias, 2)
    weight = np.concatenate([_padded_rows(numbers, PANEL), _padded_rows(gates, PANEL)])
    return Linear(weight, np.concatenate([padded_bias(bias) for bias in biases]))
