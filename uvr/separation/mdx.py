"""The MDX-Net engine: one song in, two stems out, as a stream.

    decode → 44.1 kHz → spool (peak) → segments → STFT → network → inverse → overlap-add → spool → gain → encode

Promises: the result does not depend on the input's level; primary · compensate + secondary is the mixture again; the
stems have the source's rate, channels, sample format, length, tags and cover, wherever the output format can hold them;
all is float32 until the last step; memory is flat in the song's length, disk use beside the output is twice the song in
float32.

The steps are those of UVR's MDX-Net (see `overlap`, `stft`), with the level mended: networks are not indifferent to it,
so every mixture is brought to the same peak before the network and its estimate back by the same factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from uvr.audio.decode import AudioReader
from uvr.audio.format import Block
from uvr.output_format import OutputFormat
from uvr.separation.catalogue import MdxParameters
from uvr.separation.devices import Device
from uvr.separation.engine import Separation
from uvr.separation.network import Network
from uvr.separation.overlap import Segmentation
from uvr.separation.song import Watch, full_disk_explained, network_factor, save_stems, spool_mixture
from uvr.separation.spool import Spool
from uvr.separation.stems import Stems, names_of
from uvr.separation.stft import Stft

RUMBLE_BINS = 3
"""The lowest bins, zero in what the networks were trained on."""


class MdxEngine:
    """A loaded MDX-Net model that separates songs, one at a time (see `engine.Engine`)."""

    def __init__(
        self, model_path: Path, parameters: MdxParameters, *, threads: int = 0, device: Device = "auto"
    ) -> None:
        self._parameters = parameters
        self._network = Network(model_path, parameters, threads=threads, device=device)
        self._stft = Stft(
            n_fft=parameters.n_fft,
            hop_length=parameters.hop_length,
            dim_f=parameters.dim_f,
            frames=parameters.dim_t,
        )
        self._segment = parameters.hop_length * (parameters.dim_t - 1)

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda"."""
        return self._network.provider

    def warm_up(self) -> None:
        """Set up what would otherwise be set up while the first song waits (see `Network.warm_up`)."""
        self._network.warm_up()

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
        """Split `source` into <primary>.wav and <secondary>.wav, or `output_format`, under `output_dir`.

        `on_progress` gets a growing share of the work, 0.0 to 1.0, once per segment. Raises `PermanentError` for a
        source that is no audio or longer than `max_seconds`, `TransientError` when the disk is full, and
        `CancelledError` within a segment after `cancelled()` has become true. Nothing is left behind then.
        """
        watch = Watch(on_progress, cancelled)
        with (
            full_disk_explained(),
            AudioReader(source, max_seconds=max_seconds) as song,
            Spool(output_dir, song.format.channels) as mixture,
            Spool(output_dir, song.format.channels) as primary,
        ):
            length = spool_mixture(song, mixture, watch)
            self._spool_primary(mixture, primary, watch)
            return save_stems(
                self._stems(mixture, primary),
                song,
                length,
                source,
                output_dir,
                output_format,
                provider=self.provider,
                watch=watch,
            )

    def _spool_primary(self, mixture: Spool, primary: Spool, watch: Watch) -> None:
        segmentation = Segmentation(mixture.samples, self._segment, trim=self._parameters.n_fft // 2)
        for block in segmentation.join(self._estimates(mixture, segmentation, watch)):
            primary.append(block if primary.channels == 2 else block.mean(axis=0, keepdims=True))

    def _estimates(self, mixture: Spool, segmentation: Segmentation, watch: Watch) -> Iterator[Block]:
        """The primary stem's share of each segment, at the mixture's own level."""
        factor = network_factor(mixture)
        starts = segmentation.starts
        for number, start in enumerate(starts, start=1):
            watch.check()
            segment = mixture.read(start, start + self._segment)
            yield self._estimate(segment * np.float32(factor)) / np.float32(factor)
            watch.separated(number / len(starts))

    def _estimate(self, segment: Block) -> Block:
        """The primary stem in a `segment` of shape (1 or 2, samples), as (2, samples)."""
        stereo = np.broadcast_to(segment, (2, self._segment))
        if not stereo.any():
            # Digital silence has no stems, but a network with biases would hear some.
            return np.zeros(stereo.shape, np.float32)
        spectrum = self._stft.forward(stereo)
        spectrum[:, :RUMBLE_BINS] = 0
        return self._stft.inverse(self._network.run(spectrum))

    def _stems(self, mixture: Spool, primary: Spool) -> Stems:
        """Both stems at the network's rate. The secondary is made when it is read: it needs no disk."""
        compensate = np.float32(self._parameters.compensate)

        def secondary_blocks() -> Iterator[Block]:
            for whole, part in zip(mixture.blocks(), primary.blocks(), strict=True):
                yield whole - compensate * part

        names = names_of(self._parameters.primary_stem)
        return dict(zip(names, (primary.blocks, secondary_blocks), strict=True))
