"""The names of the stems that a network has estimated, and the stem that is left over: one rule for every engine.

Names become those that clients see, and what is left of the song is a stem as well (`uvr.models.stem_names`).
"""

from __future__ import annotations

from dataclasses import replace

from uvr.models.stem_names import client_stem_names, left_over, pair_names
from uvr.separation.estimates import Estimates, Residual


def with_remainder(estimates: Estimates) -> Estimates:
    """The same estimates under the names that clients see, with the stem that is left over."""
    names, residual = client_stem_names(estimates.names), estimates.residual
    if residual and len(estimates.spools) == 1:
        names[residual.of], names[residual.name] = pair_names(residual.of, residual.name)
    spools = {names[own]: spool for own, spool in estimates.spools.items()}
    if residual:
        residual = replace(residual, name=names[residual.name], of=names[residual.of])
    elif rest := left_over(list(spools)):
        residual = Residual(*rest)
    return replace(estimates, spools=spools, residual=residual)
