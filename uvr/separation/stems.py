"""From stems as streams to stem files that match the song: its length, its format where possible, one gain for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from uvr.audio.decode import AudioReader
from uvr.audio.encode import AudioWriter, Encoding
from uvr.audio.format import Block
from uvr.audio.tags import NO_TAGS, Tags

Stems: TypeAlias = Mapping[str, Callable[[], Iterator[Block]]]
"""Stem name -> its samples at the rate of the stem files, from the beginning at every call."""


def names_of(primary_stem: str) -> tuple[str, str]:
    """File names of a model's primary and secondary stem: "Vocals" -> ("vocals", "instrumental")."""
    primary = primary_stem.lower().replace(" ", "_")
    pair = {"vocals": "instrumental", "instrumental": "vocals"}
    return primary, pair.get(primary, f"no_{primary}")


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


def write_stems(stems: Stems, folder: Path, encoding: Encoding, gain: float, tags: Tags = NO_TAGS) -> dict[str, Path]:
    """Write each stem as `folder`/<name>.<format>, times `gain`; all of them, or none when something goes wrong."""
    paths = {name: folder / f"{name}{encoding.output_format.suffix}" for name in stems}
    with _removed_on_failure(paths):
        for name, blocks in stems.items():
            with AudioWriter(paths[name], encoding, tags) as writer:
                for block in blocks():
                    writer.write(block * np.float32(gain))
    return paths


def notes_on(song: AudioReader, encoding: Encoding) -> tuple[str, ...]:
    """What is different about the stems of `song`, in sentences for its owner; empty when they are made like it."""
    notes = []
    if song.source_channels > song.format.channels:
        notes.append(f"The song's {song.source_channels} channels were mixed down to stereo.")
    if song.format.sample_rate != encoding.sample_rate:
        name = encoding.output_format.value
        rates = f"The song has {song.format.sample_rate} Hz, the stems have {encoding.sample_rate} Hz"
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
