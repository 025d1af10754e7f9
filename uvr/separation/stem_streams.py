"""The stems of a song as streams of samples, at the song's own rate and length.

No stem has to be in memory, and only estimates are on disk: what is left over of the song, and the mean of several
networks, are computed while they are read. So they take no disk space, and the remainder is exact at every frequency:
what the network's rate cannot represent (above 22 kHz) is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from uvr.audio.format import Block
from uvr.audio.resample import fit_to_length, resampled
from uvr.errors import PermanentError
from uvr.separation.estimates import Estimates
from uvr.separation.mixture import NETWORK_RATE_HZ, Mixture
from uvr.separation.progress import SeparationObserver
from uvr.separation.spool import Spool

Blocks: TypeAlias = Callable[[], Iterator[Block]]
"""The samples of a stem; every call starts from the beginning."""


def stem_streams(
    networks: Sequence[Estimates], mixture: Mixture, folder: Path, observer: SeparationObserver
) -> dict[str, Blocks]:
    """The stems that all `networks` give; of several networks each stem is the mean of their waveforms.

    `folder` is for temporary files. Raises `PermanentError` if the networks have no stem in common.
    """
    at_song_rate = _AtSongRate(mixture, folder, observer)
    each = [_streams_of(estimates, mixture, at_song_rate) for estimates in networks]
    common = [name for name in each[0] if all(name in streams for streams in each)]
    if not common:
        raise PermanentError(
            f"These models have no stem in common, so they cannot be averaged: {what_they_give(networks)}."
        )
    return {name: _mean([streams[name] for streams in each]) for name in common}


def what_they_give(networks: Sequence[Estimates]) -> str:
    """The stems of each network: "Kim_Vocal_2 gives vocals, instrumental"."""
    return "; ".join(f"{estimates.model or 'the model'} gives {', '.join(estimates.names)}" for estimates in networks)


def _streams_of(estimates: Estimates, mixture: Mixture, at_song_rate: Callable[[Spool], Spool]) -> Mapping[str, Blocks]:
    """The stems of one network, with the residual."""

    def estimated(spool: Spool) -> Blocks:
        return lambda: at_song_rate(spool).blocks()

    streams = {name: estimated(spool) for name, spool in estimates.spools.items()}
    if residual := estimates.residual:
        factor, subtracted = np.float32(residual.factor), streams[residual.of]

        def remaining() -> Iterator[Block]:
            for whole, part in zip(mixture.source.blocks(), subtracted(), strict=True):
                yield whole - factor * part

        streams[residual.name] = remaining
    return streams


def _mean(streams: Sequence[Blocks]) -> Blocks:
    """The mean of several streams; a single one is returned unchanged."""
    if len(streams) == 1:
        return streams[0]
    count = np.float32(len(streams))

    def averaged() -> Iterator[Block]:
        for first, *others in zip(*(blocks() for blocks in streams), strict=True):
            yield sum(others, start=first) / count

    return averaged


class _AtSongRate:
    """Converts spools from the network's rate to the song's, each once and only when it is needed."""

    def __init__(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> None:
        self._mixture = mixture
        self._folder = folder
        self._observer = observer
        self._converted: dict[Path, Spool] = {}

    def __call__(self, spool: Spool) -> Spool:
        rate_hz = self._mixture.format.sample_rate
        if rate_hz == NETWORK_RATE_HZ:
            return spool
        if spool.path not in self._converted:
            blocks = resampled(self._observer.until_cancelled(spool.blocks()), NETWORK_RATE_HZ, rate_hz)
            exact = fit_to_length(blocks, self._mixture.source.samples, spool.channels)
            path = self._folder / f"estimate-{len(self._converted)}-{rate_hz}.f32"
            self._converted[spool.path] = Spool.of(exact, path, spool.channels)
        return self._converted[spool.path]
