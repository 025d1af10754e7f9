"""The MDX-Net engine: estimates the primary stem of a mixture, segment by segment.

    mixture → segments → networks' level → STFT → network → inverse STFT → the mixture's level → overlap-add → spool

Promises: the result does not depend on the input's level; primary · compensate + secondary equals the mixture; all
samples are float32; memory use does not depend on the song's length.

The steps are those of UVR's MDX-Net (see `overlap_add`, `stft`), except for the level: the networks' results depend on
it, so every mixture is scaled to the same peak before the network, and its estimate is scaled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uvr.audio.format import Block
from uvr.models.catalogue import MdxParameters
from uvr.models.files import fingerprint
from uvr.models.stem_names import stem_pair
from uvr.separation.allocator import return_large_arrays
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.devices import Device
from uvr.separation.estimates import Estimates, Residual
from uvr.separation.mdx.backends import NETWORK_CHANNELS, Backend, open_network
from uvr.separation.mdx.overlap_add import Segmentation
from uvr.separation.mdx.stft import Stft
from uvr.separation.mixture import Mixture
from uvr.separation.progress import SeparationObserver
from uvr.separation.spool import Spool

if TYPE_CHECKING:
    from uvr.separation.native.stft import NativeStft

RUMBLE_BINS = 3
"""The number of lowest bins that were zero in the networks' training data."""


class MdxEngine:
    """A loaded MDX-Net model. It separates one song at a time (see `engine.Engine`)."""

    def __init__(
        self,
        model_path: Path,
        parameters: MdxParameters,
        *,
        threads: int = 0,
        device: Device = "auto",
        backend: Backend = "auto",
    ) -> None:
        self._name = model_path.stem
        self._parameters = parameters
        return_large_arrays()
        with ThreadPoolExecutor(1, thread_name_prefix="fingerprint") as background:
            made_from = background.submit(fingerprint, [model_path], "mdx", repr(parameters))
            self._network = open_network(model_path, parameters, threads=threads, device=device, backend=backend)
        self._fingerprint = made_from.result()
        self._stft = _stft(
            is_native=self._network.backend == "native",
            n_fft=parameters.n_fft,
            hop_length=parameters.hop_length,
            dim_f=parameters.dim_f,
            frames=parameters.dim_t,
            threads=min(2, threads or usable_cores()),
        )
        self._spectrum = np.empty((NETWORK_CHANNELS, parameters.dim_f, parameters.dim_t), np.float32)
        self._segment = parameters.hop_length * (parameters.dim_t - 1)

    @property
    def provider(self) -> str:
        """What the network runs on: "cpu", "cuda"."""
        return self._network.provider

    @property
    def fingerprint(self) -> str:
        """Of the model's file and its parameters."""
        return self._fingerprint

    @property
    def backend(self) -> str:
        """What computes the network: "native", "onnxruntime"."""
        return self._network.backend

    @property
    def precision(self) -> str:
        """What it is computed in; "" where that is not known: CoreML may compute in half precision."""
        return "" if self.provider == "coreml" else "float32"

    def warm_up(self) -> None:
        """Prepare everything that would otherwise delay the first song (see `Network.warm_up`)."""
        self._network.warm_up()

    def separate(self, mixture: Mixture, folder: Path, observer: SeparationObserver) -> Estimates:
        """Estimate the primary stem; the secondary stem is the residual. Reports progress after each segment."""
        primary, secondary = stem_pair(self._parameters.primary_stem)
        spool = mixture.at_network_rate
        segmentation = Segmentation(spool.samples, self._segment, trim=self._parameters.n_fft // 2)
        blocks = segmentation.join(self._estimates(mixture, segmentation, observer))
        if spool.channels == 1:
            blocks = (block.mean(axis=0, keepdims=True) for block in blocks)
        estimate = Spool.of(blocks, folder / "primary.f32", spool.channels)
        residual = Residual(secondary, primary, self._parameters.compensate)
        return Estimates({primary: estimate}, self.provider, self.backend, residual, self._name, self.precision)

    def _estimates(self, mixture: Mixture, segmentation: Segmentation, observer: SeparationObserver) -> Iterator[Block]:
        """The primary stem of each segment, of shape (2, samples), at the level of the mixture."""
        factor = np.float32(mixture.network_factor)
        starts = segmentation.starts
        for number, start in enumerate(starts, start=1):
            observer.raise_if_cancelled()
            segment = mixture.at_network_rate.read(start, start + self._segment)
            yield self._estimate(segment * factor) / factor
            observer.report_separated(number / len(starts))

    def _estimate(self, segment: Block) -> Block:
        """The primary stem of one segment of shape (1 or 2, samples), as (2, samples).

        A function of its own, so that its estimate is freed before the next segment is read.
        """
        stereo = np.broadcast_to(segment, (2, self._segment))
        if not stereo.any():  # a network with biases would estimate sound in digital silence
            return np.zeros(stereo.shape, np.float32)
        spectrum = self._stft.forward(stereo, self._spectrum)
        spectrum[:, :RUMBLE_BINS] = 0
        return self._stft.inverse(self._network.run(spectrum))


def _stft(*, is_native: bool, **shape: int) -> Stft | NativeStft:
    """The transform of the kernels where the network runs on them, else numpy's."""
    if not is_native:
        return Stft(**shape)
    from uvr.separation.native.stft import fastest_stft  # needs the library of the kernels

    return fastest_stft(**shape)
