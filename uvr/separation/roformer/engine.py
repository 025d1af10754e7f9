"""The engine for BS-RoFormer and Mel-Band RoFormer: any length of song, in constant memory, without torch.

    mixture → chunks → STFT → network → masks → inverse STFT → stems (→ residual)

Chunks and overlap are those of audio-separator 0.47.1. The scale of the network's input is always the same, and each
chunk is estimated in stereo if the network is, so neither the level of a song nor a second, equal channel makes a
difference. A network for one channel estimates each channel on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from uvr.audio.format import Block
from uvr.models.descriptions import read_description
from uvr.models.packed_files import BESIDE_MODELS, PackedFilesPolicy
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.estimates import Estimates
from uvr.separation.mdx.stft import Stft
from uvr.separation.mixture import NETWORK_RATE_HZ, Mixture
from uvr.separation.native.stft import NativeStft, fastest_stft
from uvr.separation.precision import Precision, PrecisionChoice, precision_of
from uvr.separation.progress import SeparationObserver
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checked_weights import CheckedWeights
from uvr.separation.roformer.checkpoint import read_checkpoint
from uvr.separation.roformer.chunks import Chunks
from uvr.separation.roformer.configuration import read_configuration
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.packed_weights import Conversion, max_packed_bytes
from uvr.separation.roformer.packing import packed_arrays
from uvr.separation.roformer.spectra import joined, parted
from uvr.separation.roformer.weights import RoformerWeights, read_weights
from uvr.separation.spool import Spool

_SHORT_SONG_S = 10
_SHORT_SONG_FRAMES = 256
"""audio-separator cuts songs below 10 s into chunks of so many frames."""


class RoformerEngine:
    """A loaded RoFormer. It separates one song at a time (see `engine.Engine`). `threads` 0 means one per core.

    Raises `PermanentError` if the files are not a RoFormer that can be run, or not in the `precision` that is demanded,
    `KernelsRefusedError` or `LibraryError` if the kernels cannot be used, and `DiskFullError` or `OutOfMemoryError` if
    there is no room for the weights.
    """

    provider = "cpu"
    backend = "native"

    def __init__(
        self,
        model: Path,
        description: Path,
        *,
        threads: int = 0,
        packed_files: PackedFilesPolicy = BESIDE_MODELS,
        precision: PrecisionChoice = "auto",
    ) -> None:
        self._name = model.stem
        self._threads = threads
        self._configuration = read_configuration(read_description(description), description.name)
        self._shape = self._configuration.shape
        self._bands = Bands(self._shape)

        def read() -> RoformerWeights:
            return read_weights(read_checkpoint(model), self._shape, self._bands, model.name)

        def conversion(terms: int) -> Conversion:
            max_bytes = max_packed_bytes(self._shape, terms)
            return Conversion(max_bytes, packed_arrays(read(), self._shape, terms), terms)

        self._weights = CheckedWeights(model, description, packed_files, conversion, threads).open(precision)
        self._network = self._network_of(self._configuration.segment_frames)

    @property
    def instruction_set(self) -> str:
        """The widest instruction set that the kernels use."""
        return self._network.instruction_set.name

    @property
    def terms(self) -> int:
        """How many products of bfloat16 numbers make one product (`uvr.separation.precision`)."""
        return self._weights.terms

    @property
    def precision(self) -> Precision:
        """What the network is computed in."""
        return precision_of(self.terms)

    @property
    def fingerprint(self) -> str:
        """Of the checkpoint and its YAML file, and of the precision: bfloat16 is not as far below what can be heard."""
        made_from = self._weights.fingerprint
        return made_from if self.precision == "float32" else f"{made_from}:{self.precision}"

    def warm_up(self) -> None:
        """Nothing to do: everything is prepared."""

    def separate(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Estimates:
        """Estimate all stems in one pass. Reports progress, and notices that it is cancelled, after each layer."""
        spool, stems = mixture.at_network_rate, self._configuration.stems
        frames = self._frames_for(spool.samples)
        if frames != self._network.frames:
            self._network = self._network_of(frames)
        chunks = Chunks(spool.samples, self._shape.stft_hop_length * (frames - 1), self._configuration.overlap)
        blocks = chunks.join(self._estimates(mixture, chunks, observer))
        paths = [folder / f"stem-{number}.f32" for number in range(len(stems))]
        spools = Spool.several(blocks, paths, spool.channels)
        named = dict(zip(stems, spools, strict=True))
        return Estimates(named, self.provider, self.backend, self._configuration.residual, self._name, self.precision)

    def _frames_for(self, samples: int) -> int:
        """The frames of a chunk; a song that is shorter than one is a chunk of its own."""
        is_short = samples < _SHORT_SONG_S * NETWORK_RATE_HZ
        frames, hop = (
            _SHORT_SONG_FRAMES if is_short else self._configuration.segment_frames,
            self._shape.stft_hop_length,
        )
        shortest = self._shape.stft_n_fft // 2 // hop + 2  # the transform reflects half a frame
        return min(frames, max(-(-samples // hop) + 1, shortest))

    def _network_of(self, frames: int) -> RoformerNetwork:
        return RoformerNetwork(
            self._weights.arrays, self._shape, self._bands, frames, threads=self._threads, terms=self.terms
        )

    def _estimates(self, mixture: Mixture, chunks: Chunks, observer: SeparationObserver) -> Iterator[Block]:
        """All stems of each chunk, of shape (stems · the song's channels, samples), at the level of the mixture."""
        factor, spool, starts = np.float32(mixture.network_factor), mixture.at_network_rate, chunks.starts
        stft = self._stft()
        for number, start in enumerate(starts):

            def on_step(share: float, number: int = number) -> None:
                observer.raise_if_cancelled()
                observer.report_separated((number + share) / len(starts))

            chunk = spool.read(start, start + chunks.size)
            yield self._estimate(chunk * factor, stft, on_step) / factor
            on_step(1.0)

    def _stft(self) -> Stft | NativeStft:
        shape = self._shape
        return fastest_stft(
            n_fft=shape.stft_n_fft,
            hop_length=shape.stft_hop_length,
            dim_f=shape.bins,
            frames=self._network.frames,
            threads=min(2, self._threads or usable_cores()),
            window=shape.stft_win_length,
        )

    def _estimate(self, chunk: Block, stft: Stft | NativeStft, on_step: Callable[[float], None]) -> Block:
        """All stems of one chunk of shape (the song's channels, samples)."""
        stems, channels = len(self._configuration.stems), len(chunk)
        if not chunk.any():  # a network with biases would estimate sound in digital silence
            return np.zeros((stems * channels, chunk.shape[1]), np.float32)
        if self._shape.channels == 1:
            parts = []
            for number, channel in enumerate(chunk):

                def on_channels_step(share: float, done: int = number) -> None:
                    on_step((done + share) / channels)

                parts.append(self._stems_of(channel[None], stft, on_channels_step))
            return np.concatenate(parts, axis=1).reshape(stems * channels, -1)
        estimates = self._stems_of(np.broadcast_to(chunk, (2, chunk.shape[1])), stft, on_step)
        if channels == 1:
            return np.asarray(estimates.mean(axis=1), np.float32)
        return estimates.reshape(stems * channels, -1)

    def _stems_of(self, chunk: Block, stft: Stft | NativeStft, on_step: Callable[[float], None]) -> Block:
        """The stems, of shape (stems, channels, samples), of a chunk with the channels of the network."""
        spectrum = joined(stft.forward(chunk))
        masks = self._network.masks(spectrum, on_step)
        masks *= spectrum
        return np.stack([stft.inverse(parted(stem)) for stem in masks])
