"""Suggests the valid name that an unknown one probably means.

There are two measures, because false alarms are not equally bad everywhere. `closest` is for names that were written
for this service, in .env or in a request. `near_miss` is stricter, for the environment of a process, which contains
many names of other programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

_MIN_WORD_LETTERS = 4
"""Shorter words resemble too many others: NODE_IP does not mean NODE_ID."""
_WORD_CUTOFF = 0.75


def closest(name: str, candidates: Iterable[str], *, cutoff: float = 0.8) -> str:
    """The candidate most similar to `name`, or "" if none is; case and separators do not matter.

    `cutoff` is the similarity that `difflib` must find at least, from 0.0 to 1.0.
    """
    plain = {_plain(other): other for other in candidates}
    return next((plain[found] for found in get_close_matches(_plain(name), plain, n=1, cutoff=cutoff)), "")


def near_miss(name: str, candidates: Iterable[str]) -> str:
    """The candidate with the same words as `name`, separated by underscores, except for a typing error in one word."""
    return next((other for other in candidates if _differ_by_a_slip(name.split("_"), other.split("_"))), "")


def _differ_by_a_slip(words: list[str], others: list[str]) -> bool:
    if len(words) != len(others) or len(words) == 1:
        return False
    differing = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    if len(differing) != 1 or max(map(len, differing[0])) < _MIN_WORD_LETTERS:
        return False
    return SequenceMatcher(None, *differing[0]).ratio() >= _WORD_CUTOFF


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
