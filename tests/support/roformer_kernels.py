"""One layer of a RoFormer on the kernels, with weights of any size, beside the same layer in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uvr.separation.native.bindings import InstructionSet
from uvr.separation.native.roformer import (
    BandMask,
    LinearLayer,
    NetworkSize,
    RoformerKernels,
    TransformerLayer,
    address,
    aligned,
)
from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.packing import Packed, gated, joined_heads, packed, padded_bias, padded_output, turns
from uvr.separation.roformer.weights import Attention, FeedForward, Linear

Exact = NDArray[np.float64]
erf = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True)
class Size:
    """Of a network."""

    frames: int
    bands: int
    dim: int
    heads: int = 1
    dim_head: int = 2


@dataclass(frozen=True)
class Layer:
    """Attention, feed-forward and perhaps a norm behind them."""

    attention: Attention
    feed_forward: FeedForward
    norm: Floats | None = None


class Kernels:
    """The kernels for one size, which take weights as the formulas have them."""

    def __init__(
        self, size: Size, widest: int, instruction_set: InstructionSet, threads: int = 2, *, terms: int = 0
    ) -> None:
        self._size, self._terms = size, terms
        self._kept: list[Any] = []  # what the structures point to
        shape = NetworkSize(size.frames, size.bands, size.dim, size.heads, size.dim_head, max(widest, size.dim))
        self._kernels = RoformerKernels(shape, threads=threads, instruction_set=instruction_set, terms=terms)

    def split(self, layer: Linear, band: int, inputs: Floats, column: int, features: Floats) -> None:
        """Write the features of a band; `inputs` begin at `column`."""
        self._kernels.split(self._linear(layer), band, inputs, column, features)

    def transform(self, layer: Layer, features: Floats, *, along_bands: bool) -> None:
        """Change the features."""
        size, attention, feed_forward = self._size, layer.attention, layer.feed_forward
        # Not checked: only these three are used, and a test may have more heads than a model.
        shape = NetworkShape.model_construct(dim=size.dim, heads=size.heads, dim_head=size.dim_head)
        cosines, sines = map(self._keep, turns(attention.frequencies, size.bands if along_bands else size.frames))
        norm = None if layer.norm is None else address(self._keep(padded_bias(layer.norm)))
        structure = TransformerLayer(
            self._linear(Linear(joined_heads(attention, shape))),
            self._linear(attention.gates, attention.norm),
            self._linear(Linear(padded_output(attention, shape))),
            self._linear(feed_forward.inner, feed_forward.norm),
            self._linear(feed_forward.outer),
            address(cosines),
            address(sines),
            norm,
            along_bands,
        )
        self._kernels.transform(structure, features)

    def masks(
        self,
        estimators: Sequence[Sequence[Linear]],
        first: int,
        features: Floats,
        outputs: Floats,
        column: int,
        *,
        normalize: bool,
    ) -> None:
        """Write the numbers of the masks of the bands from `first` on into `outputs`, side by side from `column` on."""
        bands = range(first, first + len(estimators))
        masks = (BandMask * bands.stop)()
        for band, layers in zip(bands, estimators, strict=True):
            masks[band] = self._mask(layers, column)
            column += masks[band].numbers
        self._kernels.masks(masks, len(estimators[0]), bands, features, outputs, normalize=normalize)

    def _mask(self, layers: Sequence[Linear], column: int) -> BandMask:
        *hidden, last = layers
        structures = map(self._linear, [*hidden, gated(last)])
        return BandMask((LinearLayer * len(layers))(*structures), len(last.weight) // 2, column)

    def _linear(self, layer: Linear, gamma: Floats | None = None) -> LinearLayer:
        outputs, inputs = layer.weight.shape
        weight = self._keep(packed(layer.weight if gamma is None else layer.weight * gamma, self._terms))
        bias = None if layer.bias is None else self._keep(padded_bias(layer.bias))
        return LinearLayer.of(weight, bias, inputs, outputs, self._terms)

    def _keep(self, array: Packed) -> Packed:
        copy = copied(array)
        self._kept.append(copy)
        return copy


def copied(array: Any) -> Floats:
    """A copy that the kernels take."""
    array = np.asarray(array)
    copy = aligned(*array.shape, dtype=np.uint16 if array.dtype == np.uint16 else np.float32)
    copy[...] = array
    return copy


def numbers(seed: int, *shape: int, scale: float = 1.0) -> Floats:
    """Normally distributed."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, np.float32)


def random_linear(seed: int, outputs: int, inputs: int, *, bias: bool = True) -> Linear:
    """Whose outputs have the size of its inputs."""
    return Linear(numbers(seed, outputs, inputs, scale=inputs**-0.5), numbers(seed + 1, outputs) if bias else None)


def random_layer(size: Size, hidden: int, *, norm: bool = False, sharpness: float = 1.0) -> Layer:
    """`sharpness` scales the scores of the attention."""
    inner = size.heads * size.dim_head
    heads = random_linear(1, 3 * inner, size.dim, bias=False).weight
    heads[: 2 * inner] *= np.float32(sharpness**0.5)
    pairs = size.dim_head // 2
    attention = Attention(
        1 + numbers(2, size.dim, scale=0.2),
        Linear(heads),
        random_linear(3, size.heads, size.dim),
        random_linear(5, size.dim, inner, bias=False),
        np.asarray(10_000.0 ** (-np.arange(pairs) / pairs), np.float32),
    )
    feed_forward = FeedForward(
        1 + numbers(7, size.dim, scale=0.2), random_linear(8, hidden, size.dim), random_linear(10, size.dim, hidden)
    )
    return Layer(attention, feed_forward, 1 + numbers(12, size.dim, scale=0.2) if norm else None)


# The formulas, in float64.


def scaled(values: Exact) -> Exact:
    """To the length sqrt(dim)."""
    length = np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    result: Exact = values / length * values.shape[-1] ** 0.5
    return result


def applied(layer: Linear, values: Exact) -> Exact:
    """The output of a linear layer."""
    product: Exact = values @ layer.weight.T.astype(float)
    return product if layer.bias is None else product + layer.bias


def sigmoid(values: Exact) -> Exact:
    """1 / (1 + exp(-x)), with all its digits where it is small."""
    result: Exact = np.exp(np.minimum(values, 0)) / (1 + np.exp(-np.abs(values)))
    return result


def gelu(values: Exact) -> Exact:
    """X times the probability that a normal variable is below it."""
    result: Exact = values * (1 + erf(values / 2**0.5)) / 2
    return result


def transformed(layer: Layer, size: Size, features: Exact, *, along_bands: bool) -> Exact:
    """What `Kernels.transform` makes of the features."""
    attention, feed_forward = layer.attention, layer.feed_forward
    tokens = features if along_bands else features.swapaxes(0, 1)
    normal = scaled(tokens) * attention.norm
    joined = applied(attention.query_key_value, normal)
    query, key, value = joined.reshape(*tokens.shape[:2], 3, size.heads, size.dim_head).transpose(2, 0, 3, 1, 4)
    query, key = (_rotated(each, attention.frequencies) for each in (query, key))
    scores = query @ key.swapaxes(-1, -2) * size.dim_head**-0.5
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    gates = sigmoid(applied(attention.gates, normal)).swapaxes(1, 2)[..., None]
    heads = powers / powers.sum(axis=-1, keepdims=True) @ value * gates
    tokens = tokens + applied(attention.output, heads.swapaxes(1, 2).reshape(*tokens.shape[:2], -1))
    hidden = gelu(applied(feed_forward.inner, scaled(tokens) * feed_forward.norm))
    tokens = tokens + applied(feed_forward.outer, hidden)
    if layer.norm is not None:
        tokens = scaled(tokens) * layer.norm
    return tokens if along_bands else tokens.swapaxes(0, 1)


def _rotated(heads: Exact, frequencies: Floats) -> Exact:
    # The networks were trained with angles in float32.
    angles = (np.arange(heads.shape[-2], dtype=np.float32)[:, None] * frequencies).astype(float)
    turned = np.empty_like(heads)
    turned[..., ::2] = heads[..., ::2] * np.cos(angles) - heads[..., 1::2] * np.sin(angles)
    turned[..., 1::2] = heads[..., 1::2] * np.cos(angles) + heads[..., ::2] * np.sin(angles)
    return turned


def mask_numbers(layers: Sequence[Linear], features: Exact, *, normalize: bool) -> Exact:
    """What `Kernels.masks` writes for the features of one band, of shape (frames, dim)."""
    values = scaled(features) if normalize else features
    for layer in layers[:-1]:
        values = np.tanh(applied(layer, values))
    results, gates = np.split(applied(layers[-1], values), 2, axis=-1)
    return results * sigmoid(gates)
