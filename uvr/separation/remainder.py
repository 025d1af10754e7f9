"""The names of the stems that a network has estimated, and the stem that is left over: one rule for every engine.

- Names become those that clients see (`uvr.models.stem_names.client_stem_names`).
- A network with a single stem also gives the rest of the song.
- A network that gives vocals and no instrumental also gives the instrumental: the song without the vocals, beside the
  drums or whatever else it estimates.
"""

from __future__ import annotations

from dataclasses import replace

from uvr.models.catalogue import stem_pair
from uvr.models.stem_names import client_stem_names
from uvr.separation.estimates import Estimates, Residual


def with_remainder(estimates: Estimates) -> Estimates:
    """The same estimates under the names that clients see, with the stem that is left over."""
    names, residual = client_stem_names(estimates.names), estimates.residual
    spools = {names[own]: spool for own, spool in estimates.spools.items()}
    if residual:
        residual = replace(residual, name=names[residual.name], of=names[residual.of])
    else:
        residual = _residual_of(tuple(spools))
    return replace(estimates, spools=spools, residual=residual)


def _residual_of(names: tuple[str, ...]) -> Residual | None:
    """The stem that is left over from stems with these names, None if there is none."""
    name = names[0] if len(names) == 1 else "vocals"
    _, partner = stem_pair(name)
    return Residual(partner, name) if name in names and partner not in names else None
