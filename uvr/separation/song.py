"""What every engine does around its network: a song in at the network's rate, stems out as the song was.

Engines differ in what lies between `spool_mixture` and `save_stems`; what they promise about levels, lengths, formats
and a full disk is kept here, once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from uvr.audio.decode import AudioReader
from uvr.audio.encode import encoding_for
from uvr.audio.format import Block
from uvr.audio.resample import cut_to_length, resampled
from uvr.audio.tags import read_tags
from uvr.errors import CancelledError, TransientError
from uvr.output_format import OutputFormat
from uvr.separation.engine import Separation
from uvr.separation.spool import Spool
from uvr.separation.stems import Stems, common_gain, notes_on, write_stems

NETWORK_RATE_HZ = 44_100
NETWORK_PEAK = 0.9
"""The level networks work at; UVR and audio-separator bring loud mixtures to the same one."""
FAINTEST_PEAK = 1e-30
"""Below it, the factor to `NETWORK_PEAK` would overflow in float32."""
DECODED, SEPARATED = 0.02, 0.98
"""The share of the work that is done once the song is decoded, and once its stems are known."""


class Watch:
    """What the caller wants to hear, and whether the result is still wanted."""

    def __init__(self, on_progress: Callable[[float], None], cancelled: Callable[[], bool]) -> None:
        self.report = on_progress
        self._cancelled = cancelled

    def check(self) -> None:
        """Raise `CancelledError` if it is not."""
        if self._cancelled():
            raise CancelledError("The separation was stopped because its result is no longer wanted.")

    def over(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """`blocks`, ending with `CancelledError` when they are no longer wanted."""
        for block in blocks:
            self.check()
            yield block

    def separated(self, share: float) -> None:
        """Report that this share of the mixture, 0.0 to 1.0, has been through the network."""
        self.report(DECODED + (SEPARATED - DECODED) * share)


def network_factor(mixture: Spool) -> float:
    """What brings the mixture to the networks' level; stems go back to the song's by the same factor."""
    return NETWORK_PEAK / max(mixture.peak, FAINTEST_PEAK)


def spool_mixture(song: AudioReader, mixture: Spool, watch: Watch) -> int:
    """Decode the whole song into `mixture` at the network's rate; its length in samples at its own rate."""
    length = 0

    def counted() -> Iterator[Block]:
        nonlocal length
        for block in watch.over(song.blocks()):
            length += block.shape[1]
            yield block

    for block in resampled(counted(), song.format.sample_rate, NETWORK_RATE_HZ):
        mixture.append(block)
    watch.report(DECODED)
    return length


def save_stems(
    estimates: Stems,
    song: AudioReader,
    length: int,
    source: Path,
    output_dir: Path,
    output_format: OutputFormat,
    *,
    provider: str,
    watch: Watch,
) -> Separation:
    """Write `estimates`, at the network's rate and the song's channels and level, as files that match the song."""
    encoding = encoding_for(song.format, output_format)
    stem_length = max(1, round(length * encoding.sample_rate / song.format.sample_rate))
    stems = _fitted(estimates, encoding.sample_rate, stem_length, song.format.channels, watch)
    gain = common_gain(stems, encoding.highest)
    paths = write_stems(stems, output_dir, encoding, gain, read_tags(source))
    watch.report(1.0)
    return Separation(
        stems=paths,
        audio_s=length / song.format.sample_rate,
        sample_rate=encoding.sample_rate,
        channels=encoding.channels,
        gain=gain,
        provider=provider,
        output_format=output_format,
        notes=notes_on(song, encoding),
    )


def _fitted(
    estimates: Stems, rate_hz: int, length: int, channels: int, watch: Watch
) -> Mapping[str, Callable[[], Iterator[Block]]]:
    def fitted(blocks: Callable[[], Iterator[Block]]) -> Callable[[], Iterator[Block]]:
        def at_rate() -> Iterator[Block]:
            converted = resampled(blocks(), NETWORK_RATE_HZ, rate_hz)
            return watch.over(cut_to_length(converted, length, channels))

        return at_rate

    return {name: fitted(blocks) for name, blocks in estimates.items()}


@contextmanager
def full_disk_explained() -> Iterator[None]:
    """A disk without room as the `TransientError` that it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise TransientError("The disk is full; the song can be separated once there is room.") from error
