"""Contenders take turns until their ratios agree, or until it makes no sense to go on."""

from __future__ import annotations

import pytest

from bench.pairs import agree, all_pairs, ratios_of, rounds_until


def pairs(*ratios: float) -> list[tuple[float, float]]:
    return [(2.0, 2.0 * ratio) for ratio in ratios]


def test_a_ratio_says_how_many_times_as_fast_ours_is() -> None:
    assert ratios_of([(1.0, 2.5), (2.0, 3.0)]) == [2.5, 1.5]


@pytest.mark.parametrize(
    ("ratios", "do_agree"),
    [
        ([2.0], True),
        ([2.0, 2.3], True),
        ([2.0, 2.6], False),
        ([2.0, 2.05, 2.1, 2.05, 9.0], True),
        ([1.0, 1.0, 1.0, 3.0, 3.0, 3.0], False),
        ([1.0, 2.0, 2.0, 2.1, 3.0], True),
    ],
)
def test_pairs_agree_if_their_middle_half_lies_within_a_tenth(ratios: list[float], do_agree: bool) -> None:
    assert agree(pairs(*ratios)) is do_agree


def test_rounds_go_on_until_the_pairs_agree() -> None:
    answers = iter([False, False, True])
    assert list(rounds_until(lambda: next(answers), 2)) == [0, 1, 2, 3]
    assert list(rounds_until(lambda: True, 3)) == [0, 1, 2]


def test_rounds_end_at_three_times_their_number() -> None:
    assert list(rounds_until(lambda: False, 2)) == list(range(6))


def test_all_pairs_are_shown() -> None:
    assert all_pairs([(0.5, 1.0), (1.0, 2.1)]) == "0.50 1.00 (2.00), 1.00 2.10 (2.10)"
    assert all_pairs(pairs(1, 3)) == "2.00 2.00 (1.00), 2.00 6.00 (3.00): they do not agree"
