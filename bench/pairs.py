"""How long contenders take turns until their figures can be believed.

A neighbour on the same server can take half of its speed for minutes, and the frequency of a processor depends on what
it did before. Contenders that take turns suffer together, so ratios within a round are compared, and rounds are added
until the middle half of the ratios lies close together. All pairs are printed: what has two values stays visible.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

MAX_SPREAD = 0.10
"""Of the middle half of the ratios, relative to their median."""
MAX_TIMES_AS_MANY = 3
"""How many times as many rounds as asked for are done until the pairs agree."""

Pairs = Sequence[tuple[float, float]]
"""The seconds of ours and of theirs in each round."""


def ratios_of(pairs: Pairs) -> list[float]:
    """How many times as fast ours is, in each round."""
    return [theirs_s / ours_s for ours_s, theirs_s in pairs]


def agree(pairs: Pairs) -> bool:
    """Whether the middle half of the ratios lies within a tenth of their median; a single pair agrees."""
    ratios = ratios_of(pairs)
    if len(ratios) < 2:
        return True
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return upper - lower <= MAX_SPREAD * median


def rounds_until(all_agree: Callable[[], bool], rounds: int) -> Iterator[int]:
    """The numbers of the rounds: `rounds` of them, and more, up to three times as many, until the pairs agree."""
    yield from range(rounds)
    for number in range(rounds, MAX_TIMES_AS_MANY * rounds):
        if all_agree():
            return
        yield number


def all_pairs(pairs: Pairs) -> str:
    """The seconds of both and their ratio, round by round, and whether they agree."""
    shown = ", ".join(f"{ours:.2f} {theirs:.2f} ({theirs / ours:.2f})" for ours, theirs in pairs)
    return shown if agree(pairs) else f"{shown}: they do not agree"
