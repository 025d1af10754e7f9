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
    """The model's own name of each stem -> samples (see `remainder` for the names that clients see)."""
    provider: str
    """What the network ran on: "cpu", "cuda"."""
    backend: str
    """What computed the network: "native", "onnxruntime", "audio-separator"."""
    residual: Residual | None = None
    """A stem that is known to be what the network leaves over; others may follow from the names of the stems."""
    model: str = ""
    """The model's name, for messages."""
    precision: str = ""
    """What the network was computed in: "float32", "bfloat16"; "" where another program decides that."""

    @property
    def names(self) -> tuple[str, ...]:
        """All stems, the residual last."""
        return (*self.spools, *((self.residual.name,) if self.residual else ()))
