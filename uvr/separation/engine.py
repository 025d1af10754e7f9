"""The interface of separation engines, and the result of a separation.

Imports nothing heavy, so that a process can use these types without loading an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from uvr.audio.output_format import OutputFormat

if TYPE_CHECKING:
    from uvr.separation.estimates import Estimates
    from uvr.separation.mixture import Mixture
    from uvr.separation.progress import SeparationObserver


@dataclass(frozen=True)
class Separation:
    """The stems of one song, and the facts about them."""

    stems: dict[str, Path]
    """Stem name ("vocals", "instrumental") -> its file."""
    audio_s: float
    """Duration of the song, and of every stem, in seconds."""
    sample_rate: int
    """Of every stem, in Hz. The song's, unless `notes` say otherwise."""
    channels: int
    """Of every stem. The song's, unless `notes` say otherwise."""
    gain: float
    """The factor by which all stems were scaled so that none of them clips; 1.0 if none would clip."""
    provider: str
    """What the network ran on: "cpu", "cuda"."""
    backend: str = ""
    """What computed the network: "native", "onnxruntime", "audio-separator"."""
    precision: str = ""
    """What it was computed in: "float32", "bfloat16"; "" where that is not known."""
    output_format: OutputFormat = OutputFormat.WAV
    """Of every stem."""
    notes: tuple[str, ...] = ()
    """How the stems differ from the song, in sentences for its owner: a mix-down, another sample rate."""
    sum_error_db: float | None = None
    """The level of the song minus all stems, in dB relative to the song; None if they add up, or some are missing."""
    differs_by_compensate: bool = False
    """Whether `sum_error_db` is what the parameter `compensate` of an MDX-Net model makes of its pair of stems."""
    fingerprint: str = ""
    """Of the networks that estimated the stems (see `Engine.fingerprint`)."""
    load_s: float = 0.0
    """How long the song waited for its networks to be loaded; 0 if they were warm."""

    def facts(self) -> dict[str, object]:
        """Everything but the files, in types that JSON can represent."""
        precision = {"precision": self.precision} if self.precision else {}
        sum_error = {} if self.sum_error_db is None else {"sum_error_db": self.sum_error_db}
        return {
            "provider": self.provider,
            "backend": self.backend,
            **precision,
            "audio_s": round(self.audio_s, 3),
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "output_format": self.output_format.value,
            "gain": self.gain,
            "notes": list(self.notes),
            **sum_error,
        }


class Engine(Protocol):
    """A loaded network, which runs the second of the three stages. Used by one thread at a time."""

    @property
    def provider(self) -> str:
        """What the network runs on: "cpu", "cuda"."""

    @property
    def fingerprint(self) -> str:
        """A hash of the loaded model's files, and of what else decides how its stems sound.

        What computes the network is not part of it: backends agree to far below what can be heard.
        """

    def warm_up(self) -> None:
        """Prepare everything that would otherwise delay the first song."""

    def separate(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Estimates:
        """Estimate the stems of `mixture`. Their samples are written to `folder`, which belongs to the caller.

        Reports the share of the work done to `observer`. Raises `TransientError` if another attempt may succeed, and
        `CancelledError` soon after the separation has been cancelled.
        """
