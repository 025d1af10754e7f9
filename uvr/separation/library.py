"""audio-separator as an engine: every architecture that `mdx` does not run, and MDX-Net too for those who want it.

    decode → 44.1 kHz → spool (peak) → WAV at the networks' level → audio-separator → back to the song's level → encode

Promises what `mdx` does about level, rate, channels, length and format of the stems. It does not promise flat memory:
audio-separator holds the whole song several times over. Stems that a model leaves out are what remains of the mixture,
so that every model that gives vocals also gives an instrumental.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from uvr.audio.decode import AudioReader
from uvr.audio.encode import AudioWriter, Encoding
from uvr.audio.format import Block, SampleFormat
from uvr.audio.resample import cut_to_length
from uvr.output_format import OutputFormat
from uvr.separation.devices import Device
from uvr.separation.engine import Separation
from uvr.separation.library_model import LibraryModel, OneFile, SeveralFiles
from uvr.separation.song import NETWORK_RATE_HZ, Watch, full_disk_explained, network_factor, save_stems, spool_mixture
from uvr.separation.spool import Spool
from uvr.separation.stems import Stems, names_of

_NETWORK_FORMAT = Encoding(OutputFormat.WAV, NETWORK_RATE_HZ, 2, SampleFormat.FLOAT32)
_WARM_UP_S = 1


class LibraryEngine:
    """A model that audio-separator has loaded; separates songs, one at a time (see `engine.Engine`)."""

    def __init__(self, model: OneFile | SeveralFiles, *, threads: int = 0, device: Device = "auto") -> None:
        self._model = LibraryModel(model, threads=threads, device=device)
        self._names: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda", "mps"."""
        return self._model.provider

    def warm_up(self) -> None:
        """Separate a second of a tone: some architectures load their weights, and all name their stems, only then."""
        tone = np.sin(np.arange(NETWORK_RATE_HZ * _WARM_UP_S, dtype=np.float32) / 16)[None]
        with tempfile.TemporaryDirectory() as folder, Spool(Path(folder), 1) as mixture:
            mixture.append(tone)
            self._names = tuple(self._estimates(mixture, Path(folder), _no_matter))

    def separate(
        self,
        source: Path,
        output_dir: Path,
        *,
        max_seconds: float,
        output_format: OutputFormat = OutputFormat.WAV,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> Separation:
        """Split `source` into the model's stems under `output_dir`, as <stem>.wav or `output_format`.

        `on_progress` gets a growing share of the work, 0.0 to 1.0, in the steps that the architecture takes. Raises
        `PermanentError` for a source that is no audio or longer than `max_seconds`, `TransientError` when the disk is
        full, and `CancelledError` within a step after `cancelled()` has become true. Nothing is left behind then.
        """
        watch = Watch(on_progress, cancelled)
        with (
            full_disk_explained(),
            AudioReader(source, max_seconds=max_seconds) as song,
            Spool(output_dir, song.format.channels) as mixture,
            tempfile.TemporaryDirectory(dir=output_dir, prefix=".library-") as folder,
        ):
            length = spool_mixture(song, mixture, watch)
            estimates = self._stems(mixture, Path(folder), watch)
            return save_stems(
                estimates, song, length, source, output_dir, output_format, provider=self.provider, watch=watch
            )

    def _stems(self, mixture: Spool, folder: Path, watch: Watch) -> Stems:
        if mixture.peak:
            return self._estimates(mixture, folder, watch)
        # Of digital silence the architectures make noise, NaN or an error.
        if not self._names:
            self.warm_up()
        return dict.fromkeys(self._names, mixture.blocks)

    def _estimates(self, mixture: Spool, folder: Path, watch: Watch) -> Stems:
        """The stems at the mixture's own level, length and channels."""
        factor = np.float32(network_factor(mixture))
        whole = folder / "mixture.wav"
        _write_levelled(mixture, factor, whole, self._model.tail_samples)

        def on_share(share: float) -> None:
            watch.check()
            watch.separated(share)

        files = self._model.separate(whole, folder, on_share)
        whole.unlink()
        return _completed({name: partial(_stem, path, factor, mixture) for name, path in files.items()}, mixture)


_no_matter = Watch(lambda _share: None, lambda: False)


def _write_levelled(mixture: Spool, factor: np.float32, path: Path, tail_samples: int) -> None:
    """The mixture at the networks' level, in stereo, with silence behind it."""
    with AudioWriter(path, _NETWORK_FORMAT) as writer:
        for block in cut_to_length(mixture.blocks(), mixture.samples + tail_samples, mixture.channels):
            writer.write(np.broadcast_to(block * factor, (2, block.shape[1])))


def _stem(path: Path, factor: np.float32, mixture: Spool) -> Iterator[Block]:
    """The stem in the file `path`, at the level and length and with the channels of `mixture`."""
    with AudioReader(path, max_seconds=math.inf) as stem:
        for block in cut_to_length(stem.blocks(), mixture.samples, 2):
            yield (block if mixture.channels == 2 else block.mean(axis=0, keepdims=True)) / factor


def _completed(stems: Stems, mixture: Spool) -> Stems:
    """`stems` with the partner of the only one, or of the vocals, when the model gave none."""
    name = next(iter(stems)) if len(stems) == 1 else "vocals"
    _, partner = names_of(name)
    if name not in stems or partner in stems:
        return stems
    return {**stems, partner: partial(_rest, stems[name], mixture)}


def _rest(stem: Callable[[], Iterator[Block]], mixture: Spool) -> Iterator[Block]:
    """What remains of the mixture without a stem."""
    position = 0
    for block in stem():
        start, position = position, position + block.shape[1]
        yield mixture.read(start, position) - block
