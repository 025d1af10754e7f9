"""What a separation engine promises, and what it gives: the seam between engines and whoever runs them.

It imports nothing heavy, so that a process may speak of engines without loading one.
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
    """The stems of one song, and the facts about how they were made."""

    stems: dict[str, Path]
    """Stem name ("vocals", "instrumental") -> its file."""
    audio_s: float
    """Length of the song in seconds; every stem has the same."""
    sample_rate: int
    """Of every stem, in Hz: the song's, unless `notes` say otherwise."""
    channels: int
    """Of every stem: the song's, unless `notes` say otherwise."""
    gain: float
    """The factor that all stems share so that none of them clips; 1.0 when none would have."""
    provider: str
    """What the network really ran on: "cpu", "cuda"."""
    backend: str = ""
    """What computed it: "native", "onnxruntime", "audio-separator"."""
    output_format: OutputFormat = OutputFormat.WAV
    """Of every stem."""
    notes: tuple[str, ...] = ()
    """What is different about the stems, in sentences for the song's owner: a mix-down, another sample rate."""

    def facts(self) -> dict[str, object]:
        """All but the files, in a form that JSON can hold."""
        return {
            "provider": self.provider,
            "backend": self.backend,
            "audio_s": round(self.audio_s, 3),
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "output_format": self.output_format.value,
            "gain": self.gain,
            "notes": list(self.notes),
        }


class Engine(Protocol):
    """A loaded network: the middle one of a separation's three stages. Used by one thread at a time."""

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda"."""

    def warm_up(self) -> None:
        """Set up what would otherwise be set up while the first song waits."""

    def separate(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Estimates:
        """Estimate the stems of `mixture`. Their samples are written to `folder`, which belongs to the caller.

        Reports the share of the work done to `observer`. Raises `TransientError` where another attempt may succeed,
        and `CancelledError` soon after the separation has been cancelled.
        """
