"""What a separation engine promises, and what it gives: the seam between engines and whoever runs them.

It imports nothing heavy, so that a process may speak of engines without loading one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Separation:
    """The stems of one song, and the facts about how they were made."""

    stems: dict[str, Path]
    """Stem name ("vocals", "instrumental") -> its file."""
    audio_s: float
    """Length of the song in seconds; every stem has the same."""
    sample_rate: int
    """Of the song and of every stem, in Hz."""
    channels: int
    """Of the song and of every stem."""
    gain: float
    """The factor that all stems share so that none of them clips; 1.0 when none would have."""
    provider: str
    """What the network really ran on: "cpu", "cuda"."""


class Engine(Protocol):
    """A loaded network. Used by one thread at a time; whatever crosses its border can be pickled."""

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda"."""

    def warm_up(self) -> None:
        """Run the network once on silence, so that the first song does not pay for what is set up at first use."""

    def separate(
        self,
        source: Path,
        output_dir: Path,
        *,
        max_seconds: float,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> Separation:
        """Split `source` into stems under `output_dir`, telling `on_progress` the share done, 0.0 to 1.0.

        Raises `PermanentError` for a source that is no audio or longer than `max_seconds`, `TransientError` for what
        another try may mend, and `CancelledError` soon after `cancelled()` has become true.
        """
