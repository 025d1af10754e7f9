"""The first stage of a separation: decodes the song to disk, and resamples it to the rate of the networks.

Only this stage reads the client's file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uvr.audio.decode import AudioReader
from uvr.audio.format import AudioFormat
from uvr.audio.resample import resampled
from uvr.audio.tags import Tags, read_tags
from uvr.separation.progress import DECODED, SeparationObserver
from uvr.separation.spool import Spool

NETWORK_RATE_HZ = 44_100
NETWORK_PEAK = 0.9
"""The peak of the network's input. UVR and audio-separator scale loud mixtures to the same peak."""
MIN_PEAK = 1e-30
"""For a quieter mixture the factor to `NETWORK_PEAK` would overflow in float32."""


@dataclass(frozen=True)
class Mixture:
    """A decoded song, and the facts about its file."""

    source: Spool
    """The samples at the song's own rate."""
    at_network_rate: Spool
    """The same samples at `NETWORK_RATE_HZ`."""
    format: AudioFormat
    tags: Tags
    notes: tuple[str, ...] = ()
    """How the decoded song differs from its file, in sentences for the song's owner."""

    @property
    def audio_s(self) -> float:
        """The song's duration in seconds."""
        return self.source.samples / self.format.sample_rate

    @property
    def network_factor(self) -> float:
        """The factor that scales the mixture to `NETWORK_PEAK`. Estimates are divided by it."""
        return NETWORK_PEAK / max(self.at_network_rate.peak, MIN_PEAK)


def decode_mixture(source: Path, folder: Path, *, max_seconds: float, observer: SeparationObserver) -> Mixture:
    """Decode the file `source` into `folder`.

    Raises `PermanentError` if the file is not audio or is longer than `max_seconds`.
    """
    with AudioReader(source, max_seconds=max_seconds) as song:
        rate, channels = song.format.sample_rate, song.format.channels
        spool = Spool.of(observer.until_cancelled(song.blocks()), folder / "source.f32", channels)
        at_network_rate = spool
        if rate != NETWORK_RATE_HZ:
            converted = resampled(observer.until_cancelled(spool.blocks()), rate, NETWORK_RATE_HZ)
            at_network_rate = Spool.of(converted, folder / "mixture.f32", channels)
    observer.report(DECODED)
    # Read tags after closing the file: while it is open, FFmpeg holds its cover picture in memory.
    return Mixture(spool, at_network_rate, song.format, read_tags(source), song.notes)
