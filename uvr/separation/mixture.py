"""The first stage of a separation: a song as it was sent, decoded onto the disk at the rate that networks work at.

Nothing behind this stage reads the client's file again.
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
"""The level networks work at; UVR and audio-separator bring loud mixtures to the same one."""
FAINTEST_PEAK = 1e-30
"""Below it, the factor to `NETWORK_PEAK` would overflow in float32."""


@dataclass(frozen=True)
class Mixture:
    """A decoded song and what is known about its file."""

    source: Spool
    """The samples at the song's own rate."""
    at_network_rate: Spool
    """The same at `NETWORK_RATE_HZ`."""
    format: AudioFormat
    tags: Tags
    notes: tuple[str, ...] = ()
    """What of the song is not as its file has it, in sentences for its owner."""

    @property
    def audio_s(self) -> float:
        """Length in seconds."""
        return self.source.samples / self.format.sample_rate

    @property
    def network_factor(self) -> float:
        """What brings the mixture to the networks' level; stems go back to the song's by the same factor."""
        return NETWORK_PEAK / max(self.at_network_rate.peak, FAINTEST_PEAK)


def decode_mixture(source: Path, folder: Path, *, max_seconds: float, observer: SeparationObserver) -> Mixture:
    """Decode the file `source` into `folder`.

    Raises `PermanentError` for a source that is no audio or longer than `max_seconds`.
    """
    with AudioReader(source, max_seconds=max_seconds) as song:
        rate, channels = song.format.sample_rate, song.format.channels
        spool = Spool.of(observer.over(song.blocks()), folder / "source.f32", channels)
        at_network_rate = spool
        if rate != NETWORK_RATE_HZ:
            converted = resampled(observer.over(spool.blocks()), rate, NETWORK_RATE_HZ)
            at_network_rate = Spool.of(converted, folder / "mixture.f32", channels)
    observer.report(DECODED)
    # Only now: FFmpeg holds a cover in memory as long as the file is open.
    return Mixture(spool, at_network_rate, song.format, read_tags(source), song.notes)
