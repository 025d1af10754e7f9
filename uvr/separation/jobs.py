"""The three stages of a separation as jobs for child processes: decode, separate, encode.

A job is a message: what it needs crosses the pipe, and so does what it gives. The parent passes what one stage gives on
to the next without looking inside (`Sealed`), so it never loads numpy, a decoder or a network runtime.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from uvr.audio.output_format import OutputFormat
from uvr.separation.engine import Engine, Separation
from uvr.separation.progress import SeparationObserver


@dataclass(frozen=True)
class Sealed:
    """A value for the next child: unpacking it loads the modules that it is made of."""

    pickled: bytes

    @classmethod
    def of(cls, value: object) -> Self:
        """Seal `value`."""
        return cls(pickle.dumps(value))

    def open(self) -> Any:
        """The value."""
        return pickle.loads(self.pickled)  # noqa: S301  # from a child of this process, never from a client


class Job(Protocol):
    """What a child is asked to do."""

    def __call__(self, engine: Engine | None, observer: SeparationObserver, /) -> Any:
        """Do it, in the child, whose network is `engine`, if it has one. `UvrError`s arrive at the parent as raised."""


@dataclass(frozen=True)
class Decode:
    """Take in the file `source`; gives a sealed `Mixture` whose samples are in `folder`."""

    source: Path
    folder: Path
    max_seconds: float

    def __call__(self, _engine: Engine | None, observer: SeparationObserver, /) -> Sealed:
        """See `decode_mixture`."""
        from uvr.separation.mixture import decode_mixture

        return Sealed.of(decode_mixture(self.source, self.folder, max_seconds=self.max_seconds, observer=observer))


@dataclass(frozen=True)
class Separate:
    """Run the network over a sealed `Mixture`; gives sealed `Estimates` whose samples are in `folder`."""

    mixture: Sealed
    folder: Path

    def __call__(self, engine: Engine | None, observer: SeparationObserver, /) -> Sealed:
        """See `Engine.separate`."""
        assert engine is not None, "this child has no network"
        return Sealed.of(engine.separate(self.mixture.open(), self.folder, observer))


@dataclass(frozen=True)
class Encode:
    """Write the stems of sealed `Estimates` and their `Mixture` into `output_dir`; `folder` is for what is between."""

    mixture: Sealed
    estimates: Sealed
    folder: Path
    output_dir: Path
    output_format: OutputFormat

    def __call__(self, _engine: Engine | None, observer: SeparationObserver, /) -> Separation:
        """See `write_stems`."""
        from uvr.separation.stem_writer import write_stems

        mixture, estimates = self.mixture.open(), self.estimates.open()
        return write_stems(estimates, mixture, self.folder, self.output_dir, self.output_format, observer)
