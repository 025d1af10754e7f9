"""Weights in the order in which the kernels read them, beside plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uvr.separation.native.roformer import LinearLayer, aligned
from uvr.separation.roformer.packing import packed


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def value(half: np.uint16) -> float:
    """Of a bfloat16."""
    return float(np.uint32(int(half) << 16).view(np.float32))


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (33, 5), (64, 32), (7, 100)])
def test_float32_weights_lie_in_lines_of_16_outputs(outputs: int, inputs: int) -> None:
    weight = numbers(outputs, inputs)
    lines = packed(weight)
    assert lines.dtype == np.float32
    for output in range(lines.shape[0] * 16):
        expected = weight[output] if output < outputs else 0
        assert (lines[output // 16, :, output % 16] == expected).all()


@pytest.mark.parametrize("terms", [1, 3])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (33, 5), (64, 32), (7, 100)])
def test_bfloat16_weights_lie_in_tiles_of_pairs(outputs: int, inputs: int, terms: int) -> None:
    """Each number has 8 bits, and with its low part 16; all others are zero."""
    weight = numbers(outputs, inputs)
    tiles = packed(weight, terms)
    assert tiles.dtype == np.uint16
    assert tiles.shape == (2 * -(-outputs // 32), -(-inputs // 32), 1 if terms == 1 else 2, 16, 32)
    for output in range(16 * len(tiles)):
        for step in range(tiles.shape[1]):
            for place in range(32):
                pair = tiles[output // 16, step, :, place // 2, 2 * (output % 16) + place % 2]
                number = 32 * step + place
                exact = float(weight[output, number]) if output < outputs and number < inputs else 0.0
                assert abs(sum(map(value, pair)) - exact) <= abs(exact) * 2.0 ** (-8 if terms == 1 else -16)


def test_numbers_in_the_middle_between_two_are_rounded_to_even_ones() -> None:
    weight = np.float32([[1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-23, 0, -0.0, 2.0**-126, 3e38]])
    first_line = packed(weight, 1)[0, 0, 0, :, :2].ravel()
    assert [value(half) for half in first_line[:4]] == [1, 1 + 2**-6, -1, 1 + 2**-7]
    assert list(first_line[4:8]) == [0x0000, 0x8000, 0x0080, 0x7F62]


@pytest.mark.parametrize("terms", [0, 1, 3])
def test_a_weight_of_other_terms_or_sizes_is_refused(terms: int) -> None:
    packs = {each: packed(numbers(40, 70), each) for each in (0, 1, 3)}
    for each, array in packs.items():
        weight = aligned(*array.shape, dtype=array.dtype)
        if each == terms:
            assert LinearLayer.of(weight, None, 70, 40, terms).inputs == 70
            for inputs, outputs in ((97, 40), (70, 65), (70, 31)):
                with pytest.raises(ValueError, match="weight of shape"):
                    LinearLayer.of(weight, None, inputs, outputs, terms)
        else:
            with pytest.raises(ValueError, match="weight of shape"):
                LinearLayer.of(weight, None, 70, 40, terms)
