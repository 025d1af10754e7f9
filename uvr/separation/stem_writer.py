"""The last stage of a separation: writes the stems that the client wants as files that match the song.

Every stem has the song's length, sample rate, channels, level, sample format and tags, as far as the output format
supports them. All stems are scaled by the same gain, so they still add up to the song. The gain is that of all stems
of the song, not only of those wanted: a stem has the same samples, whichever others are asked for, today or later.
The peaks of the stems are made on the way, if anybody wants them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from uvr.audio.encode import AudioWriter, Encoding, encoding_for
from uvr.audio.output_format import OutputFormat
from uvr.audio.peaks import PeaksWriter
from uvr.audio.resample import fit_to_length, resampled
from uvr.audio.tags import Tags
from uvr.errors import PermanentError
from uvr.models.stem_names import safe_stem_name
from uvr.separation.engine import Separation
from uvr.separation.estimates import Estimates
from uvr.separation.mixture import Mixture
from uvr.separation.progress import SeparationObserver
from uvr.separation.remainder import with_remainder
from uvr.separation.stem_streams import Blocks, stem_streams, what_they_give
from uvr.separation.sums import MAX_EXACT_DB, is_pair, stems_to_add_up, sum_error_db


def write_stems(
    networks: Sequence[Estimates],
    mixture: Mixture,
    folder: Path,
    output_dir: Path,
    output_format: OutputFormat,
    observer: SeparationObserver,
    wanted_stems: Collection[str] = (),
    peaks_dir: Path | None = None,
) -> Separation:
    """Write the stems to `output_dir`/{stem}.{format}: all of them, or none. `folder` is for temporary files.

    With `peaks_dir`, the peaks of each stem are written to `peaks_dir`/{stem}.fine.dat and {stem}.coarse.dat
    (`uvr.audio.peaks`). Of several networks, the stems are the mean. With `wanted_stems` only these are written.
    Raises `PermanentError` if one of them is not among the stems, or if the networks have no stem in common.
    """
    networks = [with_remainder(estimates) for estimates in networks]
    encoding = encoding_for(mixture.format, output_format)
    streams = stem_streams(networks, mixture, folder, observer)
    wanted = _chosen(streams, wanted_stems, networks)
    stems = _at_rate(streams, mixture, encoding.sample_rate, observer)
    gain = common_gain(stems, encoding.max_sample)
    error_db = _sum_error_db(networks, streams, wanted, mixture)
    is_meant = is_pair(networks)  # the pair of an MDX-Net model differs from the song by `compensate`
    paths = {name: output_dir / f"{name}{encoding.output_format.suffix}" for name in wanted}
    _write({path: stems[name] for name, path in paths.items()}, encoding, gain, mixture.tags, peaks_dir)
    observer.report(1.0)
    return Separation(
        stems=paths,
        audio_s=mixture.audio_s,
        sample_rate=encoding.sample_rate,
        channels=encoding.channels,
        gain=gain,
        provider=", ".join(dict.fromkeys(estimates.provider for estimates in networks)),
        backend=", ".join(dict.fromkeys(estimates.backend for estimates in networks)),
        precision=_precision(networks),
        output_format=output_format,
        notes=(*mixture.notes, *_notes(mixture, encoding, None if is_meant else error_db)),
        sum_error_db=error_db,
        differs_by_compensate=is_meant and error_db is not None,
    )


def _chosen(streams: Mapping[str, Blocks], wanted_stems: Collection[str], networks: Sequence[Estimates]) -> list[str]:
    """The names of the stems to write, in the order of `streams`."""
    wanted = {safe_stem_name(name) for name in wanted_stems} or streams.keys()
    if unknown := sorted(wanted - streams.keys()):
        all_give = f", so together they give {', '.join(streams)}" if len(networks) > 1 else ""
        raise PermanentError(f"There is no stem {', '.join(unknown)}: {what_they_give(networks)}{all_give}.")
    return [name for name in streams if name in wanted]


def _precision(networks: Sequence[Estimates]) -> str:
    """What the networks were computed in, such as "bfloat16, float32"; "" if that is unknown of one of them."""
    each = dict.fromkeys(estimates.precision for estimates in networks)
    return ", ".join(each) if all(each) else ""


def _sum_error_db(
    networks: Sequence[Estimates], streams: Mapping[str, Blocks], wanted: Collection[str], mixture: Mixture
) -> float | None:
    """How far the written stems are from adding up to the song, in dB; None if they do, or if only some are written."""
    names = stems_to_add_up(networks, streams)
    if not names or not set(names) <= set(wanted):
        return None
    error_db = sum_error_db(mixture.source.blocks, [streams[name] for name in names])
    return round(error_db, 1) if error_db > MAX_EXACT_DB else None


def _notes(mixture: Mixture, encoding: Encoding, error_db: float | None) -> list[str]:
    """How the stems differ from the decoded song, in sentences for its owner."""
    notes, song_rate_hz, rate_hz = [], mixture.format.sample_rate, encoding.sample_rate
    if song_rate_hz != rate_hz:
        rates = f"The song has {song_rate_hz} Hz, the stems have {rate_hz} Hz"
        notes.append(f"{rates}: {encoding.output_format.value} does not support the song's sample rate.")
    if error_db is not None:
        level = f"{abs(error_db)} dB {'below' if error_db <= 0 else 'above'} the song"
        notes.append(f"The stems do not add up to the song exactly: the difference is {level}.")
    return notes


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


def _write(stems: Mapping[Path, Blocks], encoding: Encoding, gain: float, tags: Tags, peaks_dir: Path | None) -> None:
    """Encode all stems, multiplied by `gain`, each to its path. On an error none of them is left."""
    try:
        for path, blocks in stems.items():
            with ExitStack() as opened:
                files: list[AudioWriter | PeaksWriter] = [opened.enter_context(AudioWriter(path, encoding, tags))]
                if peaks_dir:
                    fine, coarse = (peaks_dir / f"{path.stem}.{resolution}.dat" for resolution in ("fine", "coarse"))
                    files.append(opened.enter_context(PeaksWriter(fine, coarse, encoding.sample_rate)))
                for block in blocks():
                    scaled = block if gain == 1.0 else block * np.float32(gain)
                    for file in files:
                        file.write(scaled)
    except BaseException:
        for path in stems:
            path.unlink(missing_ok=True)
        raise
