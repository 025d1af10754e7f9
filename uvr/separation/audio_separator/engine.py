"""The engine on audio-separator: for every architecture that `mdx` does not run, and for MDX-Net models on request.

    mixture → WAV at the networks' level → audio-separator → back to the mixture's level → spools

The stems have the mixture's level, as with `mdx`. Memory use is not constant: audio-separator holds the whole song
several times.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from uvr.audio.decode import AudioReader
from uvr.audio.encode import AudioWriter, Encoding
from uvr.audio.format import Block, SampleFormat
from uvr.audio.output_format import OutputFormat
from uvr.audio.resample import fit_to_length
from uvr.disk import bytes_free
from uvr.errors import DiskFullError
from uvr.separation.audio_separator.model import AudioSeparatorModel, OneFile, SeveralFiles
from uvr.separation.devices import Device
from uvr.separation.estimates import Estimates, Residual
from uvr.separation.mixture import NETWORK_RATE_HZ, Mixture
from uvr.separation.progress import SeparationObserver, ignore_progress
from uvr.separation.spool import Spool

_NETWORK_FORMAT = Encoding(OutputFormat.WAV, NETWORK_RATE_HZ, 2, SampleFormat.FLOAT32)
_WARM_UP_S = 1
_BACKEND = "audio-separator"
_NO_ROOM_BYTES = 2**20  # an incomplete block, which could not be written, is smaller


class AudioSeparatorEngine:
    """A model loaded by audio-separator. It separates one song at a time (see `engine.Engine`)."""

    def __init__(self, model: OneFile | SeveralFiles, *, threads: int = 0, device: Device = "auto") -> None:
        self._model = AudioSeparatorModel(model, threads=threads, device=device)
        self._names: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """What the network runs on: "cpu", "cuda", "mps"."""
        return self._model.provider

    @property
    def fingerprint(self) -> str:
        """Of the model's files and parameters, and of audio-separator."""
        return self._model.fingerprint

    def warm_up(self) -> None:
        """Separate one second of a tone: some architectures load their weights only then, and all name their stems."""
        tone = np.sin(np.arange(NETWORK_RATE_HZ * _WARM_UP_S, dtype=np.float32) / 16)[None]
        with tempfile.TemporaryDirectory() as name:
            folder, spool = Path(name), Spool.of([tone], Path(name, "tone.f32"), 1)
            estimates = self._estimates(spool, 1.0, folder, SeparationObserver(ignore_progress))
        self._names = estimates.names

    def separate(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Estimates:
        """Estimate the model's stems. Reports progress after each step of the architecture."""
        spool = mixture.at_network_rate
        if spool.peak:
            return self._estimates(spool, mixture.network_factor, folder, observer)
        # From digital silence the architectures make noise, NaN or an error.
        if not self._names:
            self.warm_up()
        return Estimates(dict.fromkeys(self._names, spool), self.provider, _BACKEND, model=self._model.name)

    def _estimates(
        self, mixture: Spool, network_factor: float, folder: Path, observer: SeparationObserver
    ) -> Estimates:
        factor, wav = np.float32(network_factor), folder / "mixture.wav"
        samples = mixture.samples + self._model.padding_samples
        with AudioWriter(wav, _NETWORK_FORMAT) as writer:
            for block in fit_to_length(mixture.blocks(), samples, mixture.channels):
                writer.write(np.broadcast_to(block * factor, (2, block.shape[1])))

        def on_share(share: float) -> None:
            observer.raise_if_cancelled()
            observer.report_separated(share)

        with _full_disk_noticed(folder):
            files = self._model.separate(wav, folder, on_share)
            wav.unlink()
            residual = _residual(files, self._model.target_stem)
            stems = {
                name: _read_stem(path, factor, mixture)
                for name, path in files.items()
                if residual is None or name != residual.name
            }
        return Estimates(stems, self.provider, _BACKEND, residual, self._model.name)


@contextmanager
def _full_disk_noticed(folder: Path) -> Iterator[None]:
    """Raise `DiskFullError` for any error on a disk that has no room: the libraries below do not report the cause."""
    try:
        yield
    except Exception as error:
        if bytes_free(folder) > _NO_ROOM_BYTES:
            raise
        raise DiskFullError("The disk is full; the song can be separated once there is room.") from error


def _residual(names: Iterable[str], target: str) -> Residual | None:
    """The other one of two stems, if the network estimates only `target`: what is left of the mixture.

    audio-separator subtracts at the network's rate; here it is done at the song's rate, so the two add up to the song.
    """
    names = list(names)
    if len(names) != 2 or target not in names:
        return None
    return Residual(next(name for name in names if name != target), target)


def _read_stem(path: Path, factor: np.float32, mixture: Spool) -> Spool:
    """The stem in the file `path`, with the level, the length and the channels of `mixture`. The file is deleted."""

    def blocks() -> Iterator[Block]:
        with AudioReader(path, max_seconds=math.inf) as stem:
            for block in fit_to_length(stem.blocks(), mixture.samples, 2):
                yield (block if mixture.channels == 2 else block.mean(axis=0, keepdims=True)) / factor

    spool = Spool.of(blocks(), path.with_suffix(".f32"), mixture.channels)
    path.unlink()
    return spool
