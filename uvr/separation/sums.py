"""Whether the stems of a song add up to it, and if not, by how much.

Two stems of which one is what the other leaves of the song need no measurement. All others do: an MDX-Net model whose
`compensate` is not 1 subtracts more than its primary stem, networks that estimate several stems do so independently,
and a mean of networks has the stems that they share.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from uvr.audio.format import Block
from uvr.separation.estimates import Estimates
from uvr.separation.stem_streams import Blocks

MAX_EXACT_DB = -60.0
"""A difference between song and stems that is further below the song cannot be heard beside it."""


def stems_to_add_up(networks: Sequence[Estimates], names: Collection[str]) -> list[str]:
    """Those of the stems `names` that should add up to the song; [] if that needs no measurement.

    An instrumental beside drums and bass contains them, so it is not counted.
    """
    residual = networks[0].residual
    if is_pair(networks) and residual and residual.factor == 1.0:
        return []
    extra = {network.residual.name for network in networks if network.residual and len(network.spools) > 1}
    counted = [name for name in names if len(names) == 2 or name not in extra]
    return counted if len(counted) > 1 else []


def is_pair(networks: Sequence[Estimates]) -> bool:
    """Whether the stems are what one network estimates, and what is left of the song."""
    return len(networks) == 1 and len(networks[0].spools) == 1


def sum_error_db(song: Blocks, stems: Sequence[Blocks]) -> float:
    """The energy of the song minus its stems, in dB relative to the song; -inf if nothing is left or it is silent."""
    energy = difference = 0.0
    for whole, *parts in zip(song(), *(blocks() for blocks in stems), strict=True):
        energy += _energy(whole)
        difference += _energy(whole - sum(parts))
    return 10 * math.log10(difference / energy) if energy and difference else -math.inf


def _energy(block: Block) -> float:
    return float(np.square(block, dtype=np.float64).sum())
