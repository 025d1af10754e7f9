"""The three stages of a separation as jobs for child processes: decode, separate, encode.

A job is a message to a child process, and its result is a message back. The parent passes the result of one stage to
the next without unpickling it (`Sealed`). So the parent never loads numpy, a decoder or a network runtime.
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
    """A pickled value for another child process. Unpickling it imports the modules of its classes."""

    pickled: bytes

    @classmethod
    def of(cls, value: object) -> Self:
        """Pickle `value`."""
        return cls(pickle.dumps(value))

    def open(self) -> Any:
        """The unpickled value."""
        return pickle.loads(self.pickled)  # noqa: S301  # from a child of this process, never from a client


class Job(Protocol):
    """A request to a child process."""

    def __call__(self, engine: Engine | None, observer: SeparationObserver, /) -> Any:
        """Run the job in the child, whose network is `engine`, if it has one. The parent raises its `UvrError`s.

        The result must not be None or a float, which are no results for the parent.
        """


@dataclass(frozen=True)
class Decoded:
    """A sealed `Mixture`, and the length of the song in seconds."""

    mixture: Sealed
    audio_s: float


@dataclass(frozen=True)
class Decode:
    """Decode the file `source`. The samples of the decoded mixture are in `folder`."""

    source: Path
    folder: Path
    max_seconds: float

    def __call__(self, _engine: Engine | None, observer: SeparationObserver, /) -> Decoded:
        """See `decode_mixture`."""
        from uvr.separation.mixture import decode_mixture

        mixture = decode_mixture(self.source, self.folder, max_seconds=self.max_seconds, observer=observer)
        return Decoded(Sealed.of(mixture), mixture.audio_s)


@dataclass(frozen=True)
class Separate:
    """Run the network on a sealed `Mixture`. The result is sealed `Estimates` with their samples in `folder`."""

    mixture: Sealed
    folder: Path

    def __call__(self, engine: Engine | None, observer: SeparationObserver, /) -> Sealed:
        """See `Engine.separate`."""
        assert engine is not None, "this child has no network"
        return Sealed.of(engine.separate(self.mixture.open(), self.folder, observer))


@dataclass(frozen=True)
class Encode:
    """Write the stems into `output_dir`, from the sealed `Estimates` of each network and their sealed `Mixture`.

    Of several networks the stems are the mean. `folder` is for temporary files.
    """

    mixture: Sealed
    estimates: tuple[Sealed, ...]
    folder: Path
    output_dir: Path
    output_format: OutputFormat
    wanted_stems: tuple[str, ...] = ()
    """The only stems to write; () for all."""
    peaks_dir: Path | None = None
    """Where the peaks of the stems go; None for none."""

    def __call__(self, _engine: Engine | None, observer: SeparationObserver, /) -> Separation:
        """See `write_stems`."""
        from uvr.separation.stem_writer import write_stems

        mixture, networks = self.mixture.open(), [estimates.open() for estimates in self.estimates]
        return write_stems(
            networks,
            mixture,
            self.folder,
            self.output_dir,
            self.output_format,
            observer,
            self.wanted_stems,
            self.peaks_dir,
        )
