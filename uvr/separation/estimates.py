"""What a network makes of a mixture: the second stage of a separation hands it to the third."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from uvr.separation.spool import Spool


@dataclass(frozen=True)
class Residual:
    """The stem `name` that no network gives: what remains of the mixture without `factor` times the stem `of`."""

    name: str
    of: str
    factor: float = 1.0


@dataclass(frozen=True)
class Estimates:
    """What a network made of a mixture, at the network's rate and the mixture's own channels and level."""

    spools: Mapping[str, Spool]
    """By stem name."""
    provider: str
    """What the network ran on: "cpu", "cuda"."""
    backend: str
    """What computed it: "native", "onnxruntime", "audio-separator"."""
    residual: Residual | None = None
