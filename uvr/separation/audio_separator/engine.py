"""audio-separator as an engine: every architecture that `mdx` does not run, and MDX-Net too for those who want it.

    mixture → WAV at the networks' level → audio-separator → back to the mixture's level → spools

Promises what `mdx` does about the level of the stems. It does not promise flat memory: audio-separator holds the whole
song several times over. Stems that a model leaves out are what remains of the mixture, so that every model that gives
vocals also gives an instrumental.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from uvr.audio.decode import AudioReader
from uvr.audio.encode import AudioWriter, Encoding
from uvr.audio.format import Block, SampleFormat
from uvr.audio.output_format import OutputFormat
from uvr.audio.resample import cut_to_length
from uvr.models.catalogue import names_of
from uvr.separation.audio_separator.model import AudioSeparatorModel, OneFile, SeveralFiles
from uvr.separation.devices import Device
from uvr.separation.estimates import Estimates, Residual
from uvr.separation.mixture import NETWORK_RATE_HZ, Mixture
from uvr.separation.progress import SeparationObserver
from uvr.separation.spool import Spool

_NETWORK_FORMAT = Encoding(OutputFormat.WAV, NETWORK_RATE_HZ, 2, SampleFormat.FLOAT32)
_WARM_UP_S = 1
_BACKEND = "audio-separator"


class AudioSeparatorEngine:
    """A model that audio-separator has loaded; separates songs, one at a time (see `engine.Engine`)."""

    def __init__(self, model: OneFile | SeveralFiles, *, threads: int = 0, device: Device = "auto") -> None:
        self._model = AudioSeparatorModel(model, threads=threads, device=device)
        self._names: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda", "mps"."""
        return self._model.provider

    def warm_up(self) -> None:
        """Separate a second of a tone: some architectures load their weights, and all name their stems, only then."""
        tone = np.sin(np.arange(NETWORK_RATE_HZ * _WARM_UP_S, dtype=np.float32) / 16)[None]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            estimates = self._estimates(Spool.of([tone], folder / "tone.f32", 1), 1.0, folder, _no_matter)
        residual = [estimates.residual.name] if estimates.residual else []
        self._names = (*estimates.spools, *residual)

    def separate(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Estimates:
        """Find the model's stems in `mixture`; tells `observer` in the steps that the architecture takes."""
        spool = mixture.at_network_rate
        if spool.peak:
            return self._estimates(mixture.at_network_rate, mixture.network_factor, folder, observer)
        # Of digital silence the architectures make noise, NaN or an error.
        if not self._names:
            self.warm_up()
        return Estimates(dict.fromkeys(self._names, spool), self.provider, _BACKEND)

    def _estimates(
        self, mixture: Spool, network_factor: float, folder: Path, observer: SeparationObserver
    ) -> Estimates:
        factor = np.float32(network_factor)
        whole = folder / "mixture.wav"
        _write_levelled(mixture, factor, whole, self._model.tail_samples)

        def on_share(share: float) -> None:
            observer.check()
            observer.separated(share)

        files = self._model.separate(whole, folder, on_share)
        whole.unlink()
        return self._completed({name: _kept(path, name, factor, mixture) for name, path in files.items()})

    def _completed(self, stems: dict[str, Spool]) -> Estimates:
        """`stems`, and the partner of the only one, or of the vocals, when the model gave none."""
        name = next(iter(stems)) if len(stems) == 1 else "vocals"
        _, partner = names_of(name)
        residual = Residual(partner, name) if name in stems and partner not in stems else None
        return Estimates(stems, self.provider, _BACKEND, residual)


_no_matter = SeparationObserver(lambda _share: None)


def _write_levelled(mixture: Spool, factor: np.float32, path: Path, tail_samples: int) -> None:
    """The mixture at the networks' level, in stereo, with silence behind it."""
    with AudioWriter(path, _NETWORK_FORMAT) as writer:
        for block in cut_to_length(mixture.blocks(), mixture.samples + tail_samples, mixture.channels):
            writer.write(np.broadcast_to(block * factor, (2, block.shape[1])))


def _kept(path: Path, name: str, factor: np.float32, mixture: Spool) -> Spool:
    """The stem in the file `path`, at the level and length and with the channels of `mixture`."""

    def blocks() -> Iterator[Block]:
        with AudioReader(path, max_seconds=math.inf) as stem:
            for block in cut_to_length(stem.blocks(), mixture.samples, 2):
                yield (block if mixture.channels == 2 else block.mean(axis=0, keepdims=True)) / factor

    return Spool.of(blocks(), path.with_name(f"stem-{name}.f32"), mixture.channels)
