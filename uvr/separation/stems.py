"""From stems as streams to stem files that match the song: its rate, length and sample format, one gain for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from uvr.audio.encode import WavWriter
from uvr.audio.format import AudioFormat, Block, SampleFormat

Stems: TypeAlias = Mapping[str, Callable[[], Iterator[Block]]]
"""Stem name -> its samples at the song's rate, from the beginning at every call."""


def names_of(primary_stem: str) -> tuple[str, str]:
    """File names of a model's primary and secondary stem: "Vocals" -> ("vocals", "instrumental")."""
    primary = primary_stem.lower().replace(" ", "_")
    pair = {"vocals": "instrumental", "instrumental": "vocals"}
    return primary, pair.get(primary, f"no_{primary}")


def common_gain(stems: Stems, sample_format: SampleFormat) -> float:
    """The largest factor up to 1.0 with which no sample of any stem leaves the range of `sample_format`."""
    if sample_format is SampleFormat.FLOAT32:
        return 1.0
    excess = 1.0
    for blocks in stems.values():
        for block in blocks():
            excess = max(excess, float(block.max()) / sample_format.highest, float(-block.min()))
    return 1.0 / excess


def write_stems(stems: Stems, folder: Path, audio_format: AudioFormat, gain: float) -> dict[str, Path]:
    """Write each stem as `folder`/<name>.wav, times `gain`; all of them, or none when something goes wrong."""
    paths = {name: folder / f"{name}.wav" for name in stems}
    with _removed_on_failure(paths):
        for name, blocks in stems.items():
            with WavWriter(paths[name], audio_format) as writer:
                for block in blocks():
                    writer.write(block * np.float32(gain))
    return paths


@contextmanager
def _removed_on_failure(paths: Mapping[str, Path]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
