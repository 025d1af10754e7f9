"""The result of the network stage: an estimate of each stem, as samples on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from uvr.separation.spool import Spool


@dataclass(frozen=True)
class Residual:
    """The stem `name` that no network estimates: the mixture minus `factor` times the stem `of`."""

    name: str
    of: str
    factor: float = 1.0


@dataclass(frozen=True)
class Estimates:
    """Estimated stems at the network's sample rate, with the channels and the level of the mixture."""

    spools: Mapping[str, Spool]
    """Stem name -> samples."""
    provider: str
    """What the network ran on: "cpu", "cuda"."""
    backend: str
    """What computed the network: "native", "onnxruntime", "audio-separator"."""
    residual: Residual | None = None
