"""The networks written down as plainly as possible, in numpy: what the kernels are compared with.

BS-RoFormer (Lu et al. 2023, https://arxiv.org/abs/2309.02612) and Mel-Band RoFormer (Wang et al. 2023,
https://arxiv.org/abs/2310.01809) as audio-separator 0.47.1 computes them. Slow, but each line is one step of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uvr.separation.roformer.bands import Bands
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

Spectrum = NDArray[np.complex64]


def masks(weights: RoformerWeights, shape: NetworkShape, bands: Bands, spectrum: Spectrum) -> Spectrum:
    """The masks, of shape (stems, channels, bins, frames), for a spectrum of shape (channels, bins, frames)."""
    features = split_bands(weights, bands, spectrum)
    for block in weights.blocks:
        if block.linear:
            features = transformed(block.linear, shape, features.reshape(1, -1, shape.dim)).reshape(features.shape)
        features = transformed(block.time, shape, features.swapaxes(0, 1)).swapaxes(0, 1)
        features = transformed(block.frequency, shape, features)
    if weights.final_norm is not None:
        features = rms_norm(features, weights.final_norm)
    return np.stack([_mask(layers, bands, features, spectrum) for layers in weights.masks])


def split_bands(weights: RoformerWeights, bands: Bands, spectrum: Spectrum) -> Floats:
    """The features of each frame and band, of shape (frames, bands, dim)."""
    numbers = spectrum.transpose(2, 1, 0)  # frames, bins, channels: as the weights of a band have them
    features = []
    for bins, norm, layer in zip(bands.bins, weights.band_norms, weights.band_inputs, strict=True):
        band = np.ascontiguousarray(numbers[:, bins]).view(np.float32).reshape(len(numbers), -1)
        features.append(applied(layer, rms_norm(band, norm)))
    return np.stack(features, axis=1)


def transformed(transformer: Transformer, shape: NetworkShape, sequences: Floats) -> Floats:
    """Sequences of shape (sequences, positions, dim) after all layers of a transformer."""
    for attention, feed_forward in transformer.layers:
        if isinstance(attention, Attention):
            sequences = sequences + attended(attention, shape, sequences)
        else:
            sequences = sequences + linearly_attended(attention, shape, sequences)
        sequences = sequences + fed_forward(feed_forward, sequences)
    return sequences if transformer.norm is None else rms_norm(sequences, transformer.norm)


def attended(weights: Attention, shape: NetworkShape, sequences: Floats) -> Floats:
    """What gated attention adds to the sequences."""
    normal = rms_norm(sequences, weights.norm)
    query, key, value = _heads(weights.query_key_value, shape, normal)
    query, key = (rotated(each, weights.frequencies) for each in (query, key))
    scores = softmax(query @ key.swapaxes(-1, -2) * np.float32(shape.dim_head**-0.5))
    gates = sigmoid(applied(weights.gates, normal)).swapaxes(1, 2)[..., None]
    return _joined(weights.output, scores @ value * gates)


def linearly_attended(weights: LinearAttention, shape: NetworkShape, sequences: Floats) -> Floats:
    """What attention among the values of a head adds (El-Nouby et al. 2021, https://arxiv.org/abs/2106.09681)."""
    query, key, value = (
        each.swapaxes(-1, -2) for each in _heads(weights.query_key_value, shape, rms_norm(sequences, weights.norm))
    )
    query, key = (each / np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1e-12) for each in (query, key))
    query = query * np.exp(weights.temperature)[:, None, None]
    scores = softmax(query @ key.swapaxes(-1, -2) * np.float32(8))
    return _joined(weights.output, (scores @ value).swapaxes(-1, -2))


def fed_forward(weights: FeedForward, sequences: Floats) -> Floats:
    """What the two linear layers add to the sequences."""
    return applied(weights.outer, gelu(applied(weights.inner, rms_norm(sequences, weights.norm))))


def rotated(heads: Floats, frequencies: Floats) -> Floats:
    """Each pair of values turned by its frequency times its position (Su et al. 2021)."""
    angles = np.arange(heads.shape[-2], dtype=np.float32)[:, None] * frequencies
    cosine, sine = np.cos(angles), np.sin(angles)
    turned = np.empty_like(heads)
    turned[..., ::2] = heads[..., ::2] * cosine - heads[..., 1::2] * sine
    turned[..., 1::2] = heads[..., 1::2] * cosine + heads[..., ::2] * sine
    return turned


def rms_norm(values: Floats, gamma: Floats) -> Floats:
    """Scaled to length sqrt(dim), and then by `gamma`."""
    length = np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    normal: Floats = values / length * np.float32(gamma.size**0.5) * gamma
    return normal


def applied(layer: Linear, values: Floats) -> Floats:
    """The output of a linear layer."""
    product: Floats = values @ layer.weight.T
    return product if layer.bias is None else product + layer.bias


def softmax(scores: Floats) -> Floats:
    """Along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    fractions: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return fractions


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray((np.tanh(values / 2) + 1) / 2, np.float32)


def gelu(values: Floats) -> Floats:
    """Each value times the probability that a normal variable is below it."""
    return values * normal_distribution(values)


def normal_distribution(values: Floats) -> Floats:
    """The probability that a normal variable is below each value, to 1e-7.

    erf by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26, in float64.
    """
    x = np.abs(values, dtype=np.float64) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = series * np.exp(-x * x) / 2
    return np.asarray(np.where(values < 0, tail, 1 - tail), np.float32)


def _heads(layer: Linear, shape: NetworkShape, sequences: Floats) -> Floats:
    """Query, key and value, of shape (3, sequences, heads, positions, dim_head)."""
    joined = applied(layer, sequences).reshape(*sequences.shape[:2], 3, shape.heads, shape.dim_head)
    return joined.transpose(2, 0, 3, 1, 4)


def _joined(layer: Linear, heads: Floats) -> Floats:
    """The output of all heads, of shape (sequences, heads, positions, dim_head), as sequences."""
    count, _, positions, _ = heads.shape
    return applied(layer, heads.swapaxes(1, 2).reshape(count, positions, -1))


def _mask(estimators: Sequence[Sequence[Linear]], bands: Bands, features: Floats, spectrum: Spectrum) -> Spectrum:
    """The mask of one stem: the mean of the masks of all bands that a bin belongs to."""
    channels, bins, frames = spectrum.shape
    total = np.zeros((frames, bins, channels), np.complex64)
    for number, (members, layers) in enumerate(zip(bands.bins, estimators, strict=True)):
        values = features[:, number]
        for layer in layers[:-1]:
            values = np.tanh(applied(layer, values))
        numbers, gates = np.split(applied(layers[-1], values), 2, axis=-1)
        mask = np.ascontiguousarray(numbers * sigmoid(gates)).view(np.complex64)
        total[:, members] += mask.reshape(frames, len(members), channels)
    return (total / bands.bands_of_bin[:, None]).transpose(2, 1, 0)
