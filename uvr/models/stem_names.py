"""The names of stems: one form for every architecture, which is safe in file names, object keys, URLs and JSON.

A model's authors call its stems what they like: "Lead-Vocals", "Drums/Bass", "主唱". Clients, file names and keys have
the names made here, of lower-case ASCII letters, digits and `_`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LENGTH = 32
"""With the name of a song before it, and a suffix after it, a file name must not become too long."""

REST_OF_VOCALS = frozenset({"other", "no_vocals", "accompaniment"})
"""What a model of two stems may call everything but the vocals, which is the instrumental."""

_PARTNERS = {"vocals": "instrumental", "instrumental": "vocals"}
_UNSAFE = re.compile(r"[^a-z0-9]+")
_NAMELESS = "stem"


def safe_stem_name(name: str) -> str:
    """The name of one stem: "Lead-Vocals" -> "lead_vocals"; "stem" if nothing of it can be kept.

    A name that is safe stays as it is. Of several stems, some may get the same name (see `safe_stem_names`).
    """
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode("ascii")
    return _UNSAFE.sub("_", plain).strip("_")[:MAX_LENGTH].rstrip("_") or _NAMELESS


def safe_stem_names(names: Iterable[str]) -> dict[str, str]:
    """The model's names of its stems -> their names here, in the same order and all different.

    Where several would be the same, the first keeps the name and the others get a number: "a_b", "a_b_2".
    """
    wanted = {name: safe_stem_name(name) for name in names}
    taken = {safe for name, safe in wanted.items() if name == safe}
    chosen: dict[str, str] = {}
    for name, safe in wanted.items():
        number, candidate = 1, safe
        # A number must not produce the name that another stem has by itself.
        while name != safe and (candidate in taken or (number > 1 and candidate in wanted.values())):
            number += 1
            suffix = f"_{number}"
            candidate = safe[: MAX_LENGTH - len(suffix)].rstrip("_") + suffix
        taken.add(candidate)
        chosen[name] = candidate
    return chosen


def client_stem_names(names: Iterable[str]) -> dict[str, str]:
    """The model's names of all its stems -> the names that clients see.

    These are safe, and what a model of two stems calls `other` beside its vocals is the instrumental.
    """
    safe = safe_stem_names(names)
    if len(safe) == 2 and "vocals" in safe.values():
        return {own: "instrumental" if name in REST_OF_VOCALS else name for own, name in safe.items()}
    return safe


@dataclass(frozen=True)
class CheckpointStems:
    """The stems of a checkpoint by its authors' names, as the section `training:` of its YAML file has them."""

    estimated: tuple[str, ...]
    """What the network estimates."""
    rest: str = ""
    """What the authors call the rest of the song, beside a single estimate; "" if they do not say."""


def checkpoint_stems(instruments: Sequence[str], target: str | None) -> CheckpointStems:
    """What a network gives that was trained on `instruments`: for all of them, or for `target` only."""
    if not target:
        return CheckpointStems(tuple(instruments))
    others = [name for name in instruments if name.casefold() != target.casefold()]
    is_one_of_two = len(others) == 1 and len(instruments) == 2
    return CheckpointStems((target,), others[0] if is_one_of_two else "")


def pair_names(estimated: str, rest: str) -> tuple[str, str]:
    """The names that clients see of a single estimate, and of what its authors call the rest of the song.

    Beside vocals the rest is the instrumental, and the other way round, under every name that the authors gave it.
    """
    own, rest = client_stem_names([estimated, rest]).values()
    return own, _PARTNERS.get(own, rest)


def stem_pair(primary_stem: str) -> tuple[str, str]:
    """The names of the primary and the secondary stem: "Vocals" -> ("vocals", "instrumental")."""
    primary = safe_stem_name(primary_stem)
    return primary, _PARTNERS.get(primary) or safe_stem_name(f"no_{primary}")


def left_over(names: Sequence[str]) -> tuple[str, str] | None:
    """The stem that is left of the song beside stems with these names, and the one without which it is; None if none.

    Beside a single stem that is its partner. Beside several it is the instrumental, if they have vocals and lack it.
    """
    name = names[0] if len(names) == 1 else "vocals"
    _, partner = stem_pair(name)
    return (partner, name) if name in names and partner not in names else None
