"""What may be meant by a name that is not known: the known one that it misses by a slip of the fingers.

Two measures, because a false alarm does not cost the same everywhere. `closest` is for names that were written for us,
in .env or in a request; `near_miss` is for the environment of a process, which is full of names for other programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

_MIN_WORD_LETTERS = 4
"""Shorter words are close to too many others: NODE_IP is not meant to be NODE_ID."""
_WORD_CUTOFF = 0.75


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.8) -> str:
    """The name of `known` that is most like `name`, "" for none; neither case nor separators count.

    `cutoff` is how like they must be, 0.0 to 1.0, in the sense of `difflib`.
    """
    plain = {_plain(other): other for other in known}
    return next((plain[found] for found in get_close_matches(_plain(name), plain, n=1, cutoff=cutoff)), "")


def near_miss(name: str, known: Iterable[str]) -> str:
    """The name of `known` that has the words of `name`, with underscores between, but for a slip in one of them."""
    return next((other for other in known if _is_a_slip(name.split("_"), other.split("_"))), "")


def _is_a_slip(words: list[str], others: list[str]) -> bool:
    if len(words) != len(others) or len(words) == 1:
        return False
    differing = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    if len(differing) != 1 or max(map(len, differing[0])) < _MIN_WORD_LETTERS:
        return False
    return SequenceMatcher(None, *differing[0]).ratio() >= _WORD_CUTOFF


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
