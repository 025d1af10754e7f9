"""Brings the weights of a RoFormer into the order in which the kernels read them (`native/kernels/roformer.h`).

What can be computed once is computed here: the gammas of the norms and the scale of the queries become part of the
weights behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.weights import Attention, Linear

PANEL = 32
_LINE = 16


def round_up(count: int, multiple: int) -> int:
    """The next multiple that is at least `count`."""
    return -(-count // multiple) * multiple


def packed(weight: Floats) -> Floats:
    """A weight of shape (outputs, inputs) as [outputs / 32, rounded up][inputs][32]."""
    outputs, inputs = weight.shape
    padded = np.zeros((round_up(outputs, PANEL), inputs), np.float32)
    padded[:outputs] = weight
    return np.ascontiguousarray(padded.reshape(-1, PANEL, inputs).swapaxes(1, 2))


def padded_bias(bias: Floats) -> Floats:
    """A bias with zeros up to a multiple of 32."""
    return np.pad(bias, (0, round_up(bias.size, PANEL) - bias.size))


def packed_heads(attention: Attention, shape: NetworkShape) -> Floats:
    """The weights of queries, keys and values of all heads, one head after the other."""
    weight = attention.query_key_value.weight * attention.norm
    query, key, value = weight.reshape(3, shape.heads, shape.dim_head, shape.dim)
    query = query * np.float32(shape.dim_head**-0.5)
    parts = [
        part
        for head in range(shape.heads)
        for part in (_turned(query[head]), _turned(key[head]), _padded_rows(value[head], PANEL))
    ]
    return packed(np.concatenate(parts))


def _turned(head: Floats) -> Floats:
    """The even rows, rounded up to 16, and then the odd ones."""
    return np.concatenate([_padded_rows(head[::2], _LINE), _padded_rows(head[1::2], _LINE)])


def _padded_rows(rows: Floats, multiple: int) -> Floats:
    return np.pad(rows, ((0, round_up(len(rows), multiple) - len(rows)), (0, 0)))


def turns(attention: Attention, positions: int) -> tuple[Floats, Floats]:
    """The cosines and sines by which each pair of values is turned at each position."""
    angles = np.arange(positions, dtype=np.float32)[:, None] * attention.frequencies
    padded = np.pad(angles, ((0, 0), (0, round_up(angles.shape[1], _LINE) - angles.shape[1])))
    return np.cos(padded), np.sin(padded)


def gated(layer: Linear) -> tuple[Floats, Floats]:
    """The last layer of a mask estimator: its numbers, and behind them, from a multiple of 32 on, their gates."""
    assert layer.bias is not None
    numbers, gates = np.split(layer.weight, 2)
    biases: Sequence[Floats] = np.split(layer.bias, 2)
    weight = packed(np.concatenate([_padded_rows(numbers, PANEL), _padded_rows(gates, PANEL)]))
    return weight, np.concatenate([padded_bias(bias) for bias in biases])
