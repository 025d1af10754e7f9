"""Each kernel of RoFormers matches the formulas in float64, over shapes that fill no tile and numbers of any size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from tests.support.roformer_kernels import (
    Exact,
    Kernels,
    Layer,
    Size,
    applied,
    copied,
    gelu,
    mask_numbers,
    numbers,
    random_layer,
    random_linear,
    scaled,
    sigmoid,
    transformed,
)
from uvr.separation.native.bindings import InstructionSet, KernelError, Library
from uvr.separation.native.roformer import aligned
from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.weights import Attention, FeedForward, Linear

pytestmark = pytest.mark.kernels

THREADS = (1, 2, 3, 7)


class Arithmetic(NamedTuple):
    """How the products are computed, and what they may lose."""

    instruction_set: InstructionSet
    terms: int

    def least_db(self, float32: float) -> float:
        """The least signal-to-noise ratio of a plain chain of products, of which float32 keeps `float32`."""
        return {0: float32, 1: 43.0, 3: 100.0}[self.terms]


_SETS = InstructionSet
IN_FLOAT32 = [Arithmetic(each, 0) for each in (_SETS.BASELINE, _SETS.NEON, _SETS.AVX2, _SETS.AVX512)]
IN_BFLOAT16 = [
    Arithmetic(each, terms) for each in (_SETS.BASELINE, _SETS.NEON, _SETS.AVX512_BF16, _SETS.AMX) for terms in (1, 3)
]
"""The other instruction sets compute with the kernels of one of these."""


def name_of(arithmetic: Arithmetic) -> str:
    return f"{arithmetic.instruction_set.name.lower()}-{arithmetic.terms}"


@pytest.fixture(params=[*IN_FLOAT32, *IN_BFLOAT16], ids=name_of)
def arithmetic(request: pytest.FixtureRequest, kernels: Library) -> Arithmetic:
    """Each that this processor has."""
    chosen: Arithmetic = request.param
    if chosen.instruction_set not in kernels.instruction_sets:
        pytest.skip(f"this processor has no {chosen.instruction_set.name}")
    return chosen


def kernels_for(size: Size, widest: int, arithmetic: Arithmetic, threads: int = 2) -> Kernels:
    return Kernels(size, widest, arithmetic.instruction_set, threads, terms=arithmetic.terms)


def decibels(exact: Exact, result: Floats) -> float:
    assert np.isfinite(result).all()
    noise = float(np.sum((exact - result) ** 2))
    return float(10 * np.log10(np.sum(exact**2) / max(noise, 1e-300)))


def ulps(exact: Exact, result: Floats) -> float:
    """The largest error in units of the last place of the exact value."""
    last_place = np.spacing(np.abs(exact).astype(np.float32)).astype(float)
    return float(np.max(np.abs(exact - result) / last_place))


# Frames, inputs, dim: one of each; parts of a block of frames, of a register tile and of a panel; several blocks.
SPLITS = [(1, 1, 1), (1, 2, 16), (95, 31, 33), (97, 482, 48), (193, 5, 7), (13, 64, 96)]


@pytest.mark.parametrize(("frames", "inputs", "dim"), SPLITS)
def test_band_split_matches_the_formula(arithmetic: Arithmetic, frames: int, inputs: int, dim: int) -> None:
    """Of the second of three bands, from the middle of a row; silent frames are not divided by zero."""
    layer, rows = random_linear(1, dim, inputs), copied(numbers(0, frames, inputs + 20))
    rows[::4] = 0
    features = copied(np.full((frames, 3, dim), 7, np.float32))

    kernels_for(Size(frames, 3, dim), inputs, arithmetic).split(layer, 1, rows, 16, features)

    expected = applied(layer, scaled(rows[:, 16 : 16 + inputs].astype(float)))
    assert decibels(expected, features[:, 1]) > arithmetic.least_db(120)
    assert (features[:, ::2] == 7).all()


# Positions, sequences, dim, heads, values of a head, hidden values.
LAYERS = [
    (1, 1, 1, 1, 2, 1),
    (1, 5, 16, 2, 8, 64),
    (31, 3, 33, 3, 10, 132),
    (32, 2, 48, 1, 16, 31),
    (33, 17, 20, 5, 12, 80),
    (62, 11, 64, 4, 64, 256),
    (49, 12, 36, 33, 4, 300),
    (801, 1, 24, 2, 34, 96),
]


@pytest.mark.parametrize("along_bands", [True, False], ids=["along_bands", "along_frames"])
@pytest.mark.parametrize(("positions", "sequences", "dim", "heads", "dim_head", "hidden"), LAYERS)
def test_layer_matches_the_formula(
    arithmetic: Arithmetic,
    positions: int,
    sequences: int,
    dim: int,
    heads: int,
    dim_head: int,
    hidden: int,
    along_bands: bool,
) -> None:
    """Norms, products, rotary embedding, softmax, gates, GELU and the sums of a whole layer.

    Without a norm behind it, what the layer adds is compared, and not the features that pass by.
    """
    frames, bands = (sequences, positions) if along_bands else (positions, sequences)
    size = Size(frames, bands, dim, heads, dim_head)
    layer, start = random_layer(size, hidden, norm=along_bands, sharpness=4), numbers(0, frames, bands, dim)
    features = copied(start)

    kernels_for(size, hidden, arithmetic).transform(layer, features, along_bands=along_bands)

    expected = transformed(layer, size, start.astype(float), along_bands=along_bands)
    added = 0 if layer.norm is not None else start
    assert decibels(expected - added, features - added) > arithmetic.least_db(110)


def test_silent_tokens_stay_finite(arithmetic: Arithmetic) -> None:
    """Their norm is zero, and all scores are the same."""
    size = Size(40, 3, 33, 2, 10)
    layer, features = random_layer(size, 50, norm=True), aligned(40, 3, 33)

    kernels_for(size, 50, arithmetic).transform(layer, features, along_bands=False)

    expected = transformed(layer, size, np.zeros((40, 3, 33)), along_bands=False)
    assert decibels(expected, features) > arithmetic.least_db(110)


MASKS = [(1, 1, 1, 5), (97, 33, 50, 31), (95, 48, 192, 32), (193, 16, 7, 65), (12, 40, 160, 964)]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("frames", "dim", "hidden", "count"), MASKS)
def test_masks_match_the_formula(
    arithmetic: Arithmetic, frames: int, dim: int, hidden: int, count: int, normalize: bool, depth: int
) -> None:
    """Of two bands of four, which have different widths; the columns of other bands are not touched."""
    counts, shared = (count, count + 3), [dim, *[hidden] * (depth - 1)]
    estimators = [
        [random_linear(100 * own + 10 * i, width, shared[i]) for i, width in enumerate([*shared[1:], 2 * own])]
        for own in counts
    ]
    features, outputs = copied(numbers(0, frames, 4, dim)), copied(np.full((frames, sum(counts) + 40), 7, np.float32))
    kernels = kernels_for(Size(frames, 4, dim), max(hidden, 2 * -(-counts[1] // 32) * 32), arithmetic)

    kernels.masks(estimators, 1, features, outputs, 16, normalize=normalize)

    columns = np.s_[16 : 16 + count], np.s_[16 + count : 16 + sum(counts)]
    for band, layers, own in zip((1, 2), estimators, columns, strict=True):
        expected = mask_numbers(layers, features[:, band].astype(float), normalize=normalize)
        assert decibels(expected, outputs[:, own]) > arithmetic.least_db(105)
    assert (np.delete(outputs, np.s_[16 : 16 + sum(counts)], axis=1) == 7).all()


def test_results_do_not_depend_on_the_number_of_threads(arithmetic: Arithmetic) -> None:
    size = Size(131, 23, 40, 3, 12)
    layer, split = random_layer(size, 160), random_linear(20, 40, 52)
    masks = [[random_linear(30 + band, 70, 40)] for band in range(2)]
    start, rows = numbers(0, 131, 23, 40), copied(numbers(1, 131, 52))

    def run(threads: int) -> bytes:
        kernels = kernels_for(size, 160, arithmetic, threads)
        features, outputs = copied(start), aligned(131, 70)
        kernels.split(split, 3, rows, 0, features)
        kernels.transform(layer, features, along_bands=False)
        kernels.transform(layer, features, along_bands=True)
        kernels.masks(masks, 5, features, outputs, 0, normalize=True)
        return features.tobytes() + outputs.tobytes()

    assert len({run(threads) for threads in THREADS for _ in range(2)}) == 1


def test_nothing_of_earlier_numbers_remains(arithmetic: Arithmetic) -> None:
    """What a product computes beyond the last token, or reads there, may be anything, but never gets into a result."""
    size, hidden = Size(33, 5, 40, 2, 10), 70
    layer, split, masks = random_layer(size, hidden), random_linear(20, 40, 52), [[random_linear(30, 70, 40)]]
    start, rows = numbers(0, 33, 5, 40), numbers(1, 33, 52)

    def run(kernels: Kernels, factor: float) -> bytes:
        features, outputs = copied(start * np.float32(factor)), aligned(33, 70)
        kernels.split(split, 3, copied(rows * np.float32(factor)), 0, features)
        for along_bands in (True, False):
            kernels.transform(layer, features, along_bands=along_bands)
        kernels.masks(masks, 4, features, outputs, 0, normalize=True)
        return features.tobytes() + outputs.tobytes()

    used = kernels_for(size, 160, arithmetic, threads=1)
    run(used, np.nan)
    run(used, np.inf)
    assert run(used, 1) == run(kernels_for(size, 160, arithmetic, threads=1), 1)


# --- functions of one number, reached through a layer whose weights let it pass unchanged -----------------------------


def through_a_mask(values: Floats, layers: list[Linear], instruction_set: InstructionSet) -> Floats:
    """The outputs of a mask for features with these values."""
    frames, dim = values.shape
    outputs = aligned(frames, dim)
    Kernels(Size(frames, 1, dim), 2 * dim, instruction_set).masks(
        [layers], 0, copied(values[:, None]), outputs, 0, normalize=False
    )
    return outputs


def test_sigmoid_and_exponential_keep_their_digits(instruction_set: InstructionSet) -> None:
    """Below zero the sigmoid is the exponential of positive numbers turned over, up to the largest that float32 has."""
    values = np.concatenate(
        [np.linspace(-87, 100, 250 * 64), np.geomspace(1e-30, 1e30, 25 * 64), -np.geomspace(1e-30, 80, 25 * 64)]
    )
    x = values.astype(np.float32).reshape(-1, 64)
    gates = Linear(np.concatenate([np.zeros((64, 64)), np.eye(64)]).astype(np.float32),
                   np.concatenate([np.ones(64), np.zeros(64)]).astype(np.float32))  # fmt: skip

    result = through_a_mask(x, [gates], instruction_set)

    assert ulps(sigmoid(x.astype(float)), result) < 4


def test_sigmoid_of_huge_negative_numbers_is_next_to_zero(instruction_set: InstructionSet) -> None:
    x = -np.geomspace(88, 1e38, 32).astype(np.float32).reshape(1, -1)
    gates = Linear(np.concatenate([np.zeros((32, 32)), np.eye(32)]).astype(np.float32),
                   np.concatenate([np.ones(32), np.zeros(32)]).astype(np.float32))  # fmt: skip

    result = through_a_mask(x, [gates], instruction_set)

    assert (result >= 0).all()
    assert (result < 1e-37).all()


def test_hyperbolic_tangent_is_right_to_the_last_places_of_one(instruction_set: InstructionSet) -> None:
    values = np.concatenate([np.linspace(-12, 12, 250 * 64), np.geomspace(1e-30, 1e30, 32 * 64)])
    x = np.concatenate([values, -values]).astype(np.float32).reshape(-1, 64)
    first = Linear(np.eye(64, dtype=np.float32), np.zeros(64, np.float32))
    last = Linear(np.concatenate([np.eye(64), np.zeros((64, 64))]).astype(np.float32),
                  np.concatenate([np.zeros(64), np.full(64, 200)]).astype(np.float32))  # fmt: skip

    result = through_a_mask(x, [first, last], instruction_set)

    assert np.max(np.abs(np.tanh(x.astype(float)) - result)) < 3e-7


def without_attention(dim: int) -> Attention:
    return Attention(
        np.ones(dim, np.float32),
        Linear(np.zeros((6, dim), np.float32)),
        Linear(np.zeros((1, dim), np.float32), np.zeros(1, np.float32)),
        Linear(np.zeros((dim, 2), np.float32)),
        np.zeros(1, np.float32),
    )


def test_gelu_is_right_to_a_few_ten_millionths(instruction_set: InstructionSet) -> None:
    """Erf is computed to 1.5e-7 and multiplied by half of x. The token is silent, so the biases are all there is."""
    values = np.concatenate([np.linspace(-14, 14, 900), np.geomspace(1e-30, 1e30, 50), -np.geomspace(1e-30, 1e30, 50)])
    x = values.astype(np.float32)
    feed_forward = FeedForward(
        np.ones(x.size, np.float32),
        Linear(np.zeros((x.size, x.size), np.float32), x),
        Linear(np.eye(x.size, dtype=np.float32), np.zeros(x.size, np.float32)),
    )
    features = aligned(1, 1, x.size)

    Kernels(Size(1, 1, x.size), x.size, instruction_set).transform(
        Layer(without_attention(x.size), feed_forward), features, along_bands=True
    )

    error = np.abs(gelu(x.astype(float)) - features[0, 0])
    assert np.max(error / np.maximum(np.abs(x.astype(float)), 1)) < 3e-7


def two_keys(distances: Floats, dim: int) -> Layer:
    """A head for each distance: the score of the first key is 0, that of the second is minus the distance.

    Tokens have one value of sqrt(dim), so their norm changes nothing. Each head writes the share of its second key into
    a value of its own behind the first two.
    """
    heads, length = len(distances), np.float32(dim**0.5)
    query, key, value = np.zeros((3, heads, 4, dim), np.float32)
    query[:, 0, :2] = 2 / length  # times 4 ** -0.5
    key[:, 0, 1] = -distances / length
    value[:, 0, 1] = 1 / length
    output = np.zeros((dim, heads, 4), np.float32)
    output[2 + np.arange(heads), np.arange(heads), 0] = 1
    zeros = np.zeros((dim, dim), np.float32)
    return Layer(
        Attention(
            np.ones(dim, np.float32),
            Linear(np.concatenate([query, key, value]).reshape(-1, dim)),
            Linear(np.zeros((heads, dim), np.float32), np.full(heads, 200, np.float32)),
            Linear(output.reshape(dim, -1)),
            np.zeros(2, np.float32),
        ),
        FeedForward(np.ones(dim, np.float32), Linear(zeros, zeros[0]), Linear(zeros, zeros[0])),
    )


def shares(distances: Floats, instruction_set: InstructionSet) -> Floats:
    """The share of the second of two keys, by the distance of its score from the first one's."""
    dim, heads = 256, len(distances)
    features = aligned(1, 2, dim)
    features[0, 0, 0] = features[0, 1, 1] = dim**0.5
    Kernels(Size(1, 2, dim, heads, 4), dim, instruction_set).transform(
        two_keys(distances, dim), features, along_bands=True
    )
    return features[0, 0, 2 : 2 + heads]


def test_softmax_keeps_the_digits_of_small_shares(instruction_set: InstructionSet) -> None:
    """The largest power is 1, and the other one that of a negative number: of 2, as log2(e) is part of the queries.

    So a power is as exact as the score, whose last place counts the more, the larger it is.
    """
    distances = np.linspace(-87, 87, 254).astype(np.float32)
    scores = (distances * np.float32(np.log2(np.e))).astype(float)  # rounded, as the kernels round them
    exact = sigmoid(-distances.astype(float))

    result = shares(distances, instruction_set)

    assert ulps(sigmoid(-scores * np.log(2)), result) < 6
    assert (np.abs(result / exact - 1) < (6 + np.abs(distances)) * 2.0**-23).all()


def test_softmax_of_huge_scores_takes_the_largest(instruction_set: InstructionSet) -> None:
    distances = np.geomspace(100, 1e36, 100).astype(np.float32)
    above, below = (shares(sign * distances, instruction_set) for sign in (np.float32(-1), np.float32(1)))
    assert (above == 1).all()
    assert (below >= 0).all()
    assert (below < 1e-37).all()


@pytest.mark.usefixtures("kernels")
def test_wrong_arguments_are_refused() -> None:
    for size in (Size(0, 1, 1), Size(1, 0, 1), Size(1, 1, 0), Size(1, 1, 1, 0), Size(1, 1, 1, 1, 3), Size(2**21, 1, 1)):
        with pytest.raises(KernelError, match="wrong argument"):
            Kernels(size, 1, InstructionSet.BEST)
    for terms in (-1, 2, 4):
        with pytest.raises(KernelError, match="wrong argument"):
            Kernels(Size(4, 2, 8), 8, InstructionSet.BEST, terms=terms)
    small = Kernels(Size(4, 2, 8), 8, InstructionSet.BEST)
    for outputs, band in ((9, 0), (8, 2), (8, -1)):
        with pytest.raises(KernelError, match="wrong argument"):
            small.split(random_linear(1, outputs, 8), band, aligned(4, 8), 0, aligned(4, 2, 8))
