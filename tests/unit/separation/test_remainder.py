"""One rule for every engine: what stems are called, and which one is left over of the song."""

from __future__ import annotations

from pathlib import Path

import pytest

from uvr.separation.estimates import Estimates, Residual
from uvr.separation.remainder import with_remainder
from uvr.separation.spool import Spool


def estimates(*names: str, residual: Residual | None = None) -> Estimates:
    return Estimates({name: Spool(Path(name), 2, 1, 0.5) for name in names}, "cpu", "native", residual)


@pytest.mark.parametrize(
    ("estimated", "named", "residual"),
    [
        # The network's own pair, and pairs of which one stem is everything but the vocals.
        (["Vocals", "Instrumental"], ["vocals", "instrumental"], None),
        (["vocals", "other"], ["vocals", "instrumental"], None),
        (["Other", "Vocals"], ["instrumental", "vocals"], None),
        (["vocals", "No Vocals"], ["vocals", "instrumental"], None),
        (["vocals", "accompaniment"], ["vocals", "instrumental"], None),
        # A single stem.
        (["Vocals"], ["vocals"], Residual("instrumental", "vocals")),
        (["Instrumental"], ["instrumental"], Residual("vocals", "instrumental")),
        (["Reverb"], ["reverb"], Residual("no_reverb", "reverb")),
        # Several stems: `other` is only what it is called, and the instrumental comes on top.
        (
            ["drums", "bass", "other", "vocals"],
            ["drums", "bass", "other", "vocals"],
            Residual("instrumental", "vocals"),
        ),
        (["dry", "other"], ["dry", "other"], None),
        (["Lead-Vocals", "lead vocals"], ["lead_vocals", "lead_vocals_2"], None),
    ],
)
def test_stems_and_what_they_leave(estimated: list[str], named: list[str], residual: Residual | None) -> None:
    made = with_remainder(estimates(*estimated))
    assert list(made.spools) == named
    assert made.residual == residual
    assert [str(spool.path) for spool in made.spools.values()] == estimated


@pytest.mark.parametrize(
    ("target", "rest", "residual"),
    [
        ("vocals", "other", Residual("instrumental", "vocals")),
        ("other", "vocals", Residual("vocals", "instrumental")),
        ("vocals", "music", Residual("instrumental", "vocals")),
        ("Lead-Vocals", "Backing", Residual("backing", "lead_vocals")),
    ],
)
def test_what_a_network_is_known_to_leave_has_a_name_of_the_same_rule(
    target: str, rest: str, residual: Residual
) -> None:
    made = with_remainder(estimates(target, residual=Residual(rest, target)))
    assert made.residual == residual
    assert list(made.spools) == [residual.of]


def test_the_rule_can_be_applied_to_its_own_result() -> None:
    once = with_remainder(estimates("Vocals", "Drums", "Other"))
    assert with_remainder(once) == once
