"""The last stage of a separation: a network's estimates become stem files that match the song.

Every stem has the song's length, rate, channels, level, sample format and tags, wherever the output format can hold
them; all stems share one gain, so that they still add up to the song.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from uvr.audio.encode import AudioWriter, Encoding, encoding_for
from uvr.audio.format import Block
from uvr.audio.output_format import OutputFormat
from uvr.audio.resample import cut_to_length, resampled
from uvr.audio.tags import Tags
from uvr.separation.engine import Separation
from uvr.separation.estimates import Estimates
from uvr.separation.mixture import NETWORK_RATE_HZ, Mixture
from uvr.separation.progress import SeparationObserver
from uvr.separation.spool import Spool

Stems: TypeAlias = Mapping[str, Callable[[], Iterator[Block]]]
"""Stem name -> its samples, from the beginning at every call."""


def write_stems(
    estimates: Estimates,
    mixture: Mixture,
    folder: Path,
    output_dir: Path,
    output_format: OutputFormat,
    observer: SeparationObserver,
) -> Separation:
    """Write the stems into `output_dir` as <stem>.<format>, all of them or none; `folder` is for what is in between."""
    encoding = encoding_for(mixture.format, output_format)
    stems = _at_rate(_stems(estimates, mixture, folder, observer), mixture, encoding.sample_rate, observer)
    gain = common_gain(stems, encoding.highest)
    paths = _written(stems, output_dir, encoding, gain, mixture.tags)
    observer.report(1.0)
    return Separation(
        stems=paths,
        audio_s=mixture.audio_s,
        sample_rate=encoding.sample_rate,
        channels=encoding.channels,
        gain=gain,
        provider=estimates.provider,
        backend=estimates.backend,
        output_format=output_format,
        notes=_notes(mixture, encoding),
    )


def _stems(estimates: Estimates, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Stems:
    """The stems at the song's own rate and length.

    The residual is computed from the decoded song while it is written. So it takes no disk space, and the stems add
    up to the song at every frequency: what the network's rate cannot represent (above 22 kHz) is in the residual.
    """
    spools = {name: _at_source_rate(spool, mixture, folder, observer) for name, spool in estimates.spools.items()}
    stems = {name: spool.blocks for name, spool in spools.items()}
    residual = estimates.residual
    if residual is None:
        return stems

    def remaining() -> Iterator[Block]:
        factor = np.float32(residual.factor)
        for whole, part in zip(mixture.source.blocks(), spools[residual.of].blocks(), strict=True):
            yield whole - factor * part

    return {**stems, residual.name: remaining}


def _at_source_rate(spool: Spool, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Spool:
    rate = mixture.format.sample_rate
    if rate == NETWORK_RATE_HZ:
        return spool
    converted = resampled(observer.over(spool.blocks()), NETWORK_RATE_HZ, rate)
    exact = cut_to_length(converted, mixture.source.samples, spool.channels)
    return Spool.of(exact, folder / f"{spool.path.stem}-{rate}.f32", spool.channels)


def _at_rate(stems: Stems, mixture: Mixture, rate_hz: int, observer: SeparationObserver) -> Stems:
    """The stems at a rate that the output format has, which some lossy formats make another one than the song's."""
    song_hz, channels = mixture.format.sample_rate, mixture.source.channels
    samples = max(1, round(mixture.source.samples * rate_hz / song_hz))

    def converted(blocks: Callable[[], Iterator[Block]]) -> Callable[[], Iterator[Block]]:
        return lambda: observer.over(cut_to_length(resampled(blocks(), song_hz, rate_hz), samples, channels))

    return {name: converted(blocks) for name, blocks in stems.items()}


def common_gain(stems: Stems, highest: float) -> float:
    """The largest factor up to 1.0 with which no sample of any stem leaves the range from -1.0 to `highest`.

    An infinite `highest` means that nothing clips.
    """
    if math.isinf(highest):
        return 1.0
    excess = 1.0
    for blocks in stems.values():
        for block in blocks():
            excess = max(excess, float(block.max()) / highest, float(-block.min()))
    return 1.0 / excess


def _written(stems: Stems, folder: Path, encoding: Encoding, gain: float, tags: Tags) -> dict[str, Path]:
    paths = {name: folder / f"{name}{encoding.output_format.suffix}" for name in stems}
    with _removed_on_failure(paths):
        for name, blocks in stems.items():
            with AudioWriter(paths[name], encoding, tags) as writer:
                for block in blocks():
                    writer.write(block if gain == 1.0 else block * np.float32(gain))
    return paths


def _notes(mixture: Mixture, encoding: Encoding) -> tuple[str, ...]:
    """What is different about the stems, in sentences for the song's owner; empty when they are made like the song."""
    notes = [*mixture.notes]
    if mixture.format.sample_rate != encoding.sample_rate:
        name = encoding.output_format.value
        rates = f"The song has {mixture.format.sample_rate} Hz, the stems have {encoding.sample_rate} Hz"
        notes.append(f"{rates}: {name} files cannot have its sample rate.")
    return tuple(notes)


@contextmanager
def _removed_on_failure(paths: Mapping[str, Path]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
