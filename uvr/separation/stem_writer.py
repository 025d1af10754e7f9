"""The last stage of a separation: writes the estimates as stem files that match the song.

Every stem has the song's length, sample rate, channels, level, sample format and tags, as far as the output format
supports them. All stems are scaled by the same gain, so they still add up to the song.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from uvr.audio.encode import AudioWriter, Encoding, encoding_for
from uvr.audio.format import Block
from uvr.audio.output_format import OutputFormat
from uvr.audio.resample import fit_to_length, resampled
from uvr.audio.tags import Tags
from uvr.separation.engine import Separation
from uvr.separation.estimates import Estimates
from uvr.separation.mixture import NETWORK_RATE_HZ, Mixture
from uvr.separation.progress import SeparationObserver
from uvr.separation.spool import Spool

Blocks: TypeAlias = Callable[[], Iterator[Block]]
"""The samples of a stem; every call starts from the beginning."""


def write_stems(
    estimates: Estimates,
    mixture: Mixture,
    folder: Path,
    output_dir: Path,
    output_format: OutputFormat,
    observer: SeparationObserver,
) -> Separation:
    """Write the stems to `output_dir`/{stem}.{format}: all of them, or none. `folder` is for temporary files."""
    encoding = encoding_for(mixture.format, output_format)
    song_rate_hz, rate_hz = mixture.format.sample_rate, encoding.sample_rate
    stems = _at_rate(_stems(estimates, mixture, folder, observer), mixture, rate_hz, observer)
    gain = common_gain(stems, encoding.max_sample)
    notes = mixture.notes
    if song_rate_hz != rate_hz:
        rates = f"The song has {song_rate_hz} Hz, the stems have {rate_hz} Hz"
        notes = (*notes, f"{rates}: {output_format.value} does not support the song's sample rate.")
    paths = _write(stems, output_dir, encoding, gain, mixture.tags)
    observer.report(1.0)
    return Separation(
        stems=paths,
        audio_s=mixture.audio_s,
        sample_rate=rate_hz,
        channels=encoding.channels,
        gain=gain,
        provider=estimates.provider,
        backend=estimates.backend,
        output_format=output_format,
        notes=notes,
    )


def _stems(estimates: Estimates, mixture: Mixture, folder: Path, observer: SeparationObserver) -> dict[str, Blocks]:
    """The stems, with the residual, at the song's own rate and length.

    The residual is computed from the decoded song while it is read. So it takes no disk space, and the stems add up
    to the song at every frequency: what the network's rate cannot represent (above 22 kHz) is in the residual.
    """
    rate_hz, spools = mixture.format.sample_rate, dict(estimates.spools)
    if rate_hz != NETWORK_RATE_HZ:
        for name, spool in estimates.spools.items():
            converted = resampled(observer.until_cancelled(spool.blocks()), NETWORK_RATE_HZ, rate_hz)
            exact = fit_to_length(converted, mixture.source.samples, spool.channels)
            spools[name] = Spool.of(exact, folder / f"{spool.path.stem}-{rate_hz}.f32", spool.channels)
    stems: dict[str, Blocks] = {name: spool.blocks for name, spool in spools.items()}
    if residual := estimates.residual:
        factor, subtracted = np.float32(residual.factor), spools[residual.of]

        def remaining() -> Iterator[Block]:
            for whole, part in zip(mixture.source.blocks(), subtracted.blocks(), strict=True):
                yield whole - factor * part

        stems[residual.name] = remaining
    return stems


def _at_rate(
    stems: Mapping[str, Blocks], mixture: Mixture, rate_hz: int, observer: SeparationObserver
) -> Mapping[str, Blocks]:
    """The stems resampled to `rate_hz`: some lossy formats do not support the song's rate."""
    song_rate_hz, channels = mixture.format.sample_rate, mixture.source.channels
    samples = max(1, round(mixture.source.samples * rate_hz / song_rate_hz))

    def converted(blocks: Blocks) -> Blocks:
        return lambda: observer.until_cancelled(
            fit_to_length(resampled(blocks(), song_rate_hz, rate_hz), samples, channels)
        )

    return {name: converted(blocks) for name, blocks in stems.items()}


def common_gain(stems: Mapping[str, Blocks], highest: float) -> float:
    """The largest factor up to 1.0 that keeps every sample of every stem in the range from -1.0 to `highest`.

    With an infinite `highest` nothing clips, and the factor is 1.0.
    """
    if math.isinf(highest):
        return 1.0
    excess = 1.0
    for blocks in stems.values():
        for block in blocks():
            excess = max(excess, float(block.max()) / highest, float(-block.min()))
    return 1.0 / excess


def _write(stems: Mapping[str, Blocks], folder: Path, encoding: Encoding, gain: float, tags: Tags) -> dict[str, Path]:
    """Encode all stems, multiplied by `gain`, into `folder`. On an error the folder is left without stems."""
    paths = {name: folder / f"{name}{encoding.output_format.suffix}" for name in stems}
    try:
        for name, blocks in stems.items():
            with AudioWriter(paths[name], encoding, tags) as writer:
                for block in blocks():
                    writer.write(block if gain == 1.0 else block * np.float32(gain))
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
    return paths
