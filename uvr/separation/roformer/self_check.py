"""Compares the kernels with `reference` once for each model, precision, library and processor.

Both compute the masks of half a second of synthetic music, in a process that ends afterwards (`native.check_process`).
The verdict is kept next to the model, as that of MDX-Net's kernels is (`native.self_check`). Kernels that do not agree
are refused (`checked_weights`): `reference` itself is too slow for a song.

Music, not noise: to noise a trained network answers with masks of next to nothing, whose errors no song has
(docs/decisions/0056).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from uvr.errors import ChangedModelError, UvrError
from uvr.models.descriptions import read_description
from uvr.models.packed_files import PackedFilesPolicy
from uvr.separation.mdx.stft import Stft
from uvr.separation.native.self_check import snr_db
from uvr.separation.native.synthetic_music import music
from uvr.separation.roformer import reference
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats, read_checkpoint
from uvr.separation.roformer.configuration import NetworkShape, read_configuration
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.packed_weights import packed_weights
from uvr.separation.roformer.reference import Spectrum
from uvr.separation.roformer.spectra import joined
from uvr.separation.roformer.weights import read_weights

_MIN_FRAMES = 48


class KernelsRefusedError(UvrError):
    """The kernels do not compute this model as they should; the message says how that was found."""


@dataclass(frozen=True)
class ReferenceComparison:
    """A comparison for `native.check_process`, of a model whose packed weights are there."""

    model: Path
    description: Path
    threads: int
    packed_files: PackedFilesPolicy
    terms: int = 0

    def __call__(self) -> float:
        """The signal-to-noise ratio of the kernels against `reference` in dB."""
        shape = read_configuration(read_description(self.description), self.description.name).shape
        bands = Bands(shape)
        packed = packed_weights(self.model, self.description, self._refuse_conversion, self.packed_files, self.terms)
        spectrum = fixed_spectrum(shape)
        frames = spectrum.shape[2]
        network = RoformerNetwork(packed.arrays, shape, bands, frames, threads=self.threads, terms=self.terms)
        found = _parts(network.masks(spectrum))
        del network
        weights = read_weights(read_checkpoint(self.model), shape, bands, self.model.name)
        expected = _parts(reference.masks(weights, shape, bands, spectrum))
        return snr_db(_parts(np.ones_like(spectrum)), expected, found)

    def _refuse_conversion(self) -> NoReturn:
        raise ChangedModelError(f"{self.model.name} was replaced, or its packed file removed, before it was checked.")


def fixed_spectrum(shape: NetworkShape) -> Spectrum:
    """The spectrum of the music, at the level that the engine gives to every song."""
    hop_length = shape.stft_hop_length
    frames = max(_MIN_FRAMES, shape.stft_n_fft // 2 // hop_length + 2)  # the transform reflects half a frame
    stft = Stft(
        n_fft=shape.stft_n_fft,
        hop_length=hop_length,
        dim_f=shape.bins,
        frames=frames,
        window=shape.stft_win_length,
    )
    return joined(stft.forward(music(hop_length * (frames - 1))[: shape.channels]))


def _parts(masks: Spectrum) -> Floats:
    return np.ascontiguousarray(masks).view(np.float32)
