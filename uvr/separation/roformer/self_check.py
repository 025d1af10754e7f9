"""Compares the kernels with `reference` once for each model, library and processor.

Both compute the masks of a short spectrum of noise, in a process that ends afterwards (`native.check_process`). The
verdict is kept next to the model, as that of MDX-Net's kernels is (`native.self_check`). Kernels that do not agree are
refused: `reference` itself is too slow for a song.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from uvr.errors import UvrError
from uvr.models.descriptions import read_description
from uvr.models.packed_files import PackedFilesPolicy
from uvr.separation.native.bindings import Library
from uvr.separation.native.self_check import Record, checked, snr_db
from uvr.separation.roformer import reference
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats, read_checkpoint
from uvr.separation.roformer.configuration import NetworkShape, read_configuration
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.packed_weights import packed_weights
from uvr.separation.roformer.reference import Spectrum
from uvr.separation.roformer.weights import read_weights

_FRAMES = 48


class KernelsRefusedError(UvrError):
    """The kernels do not compute this model as they should; the message says how that was found."""


@dataclass(frozen=True)
class ReferenceComparison:
    """A comparison for `native.check_process`, of a model whose packed weights are there."""

    model: Path
    description: Path
    threads: int
    packed_files: PackedFilesPolicy

    def __call__(self) -> float:
        """The signal-to-noise ratio of the kernels against `reference` in dB."""
        shape = read_configuration(read_description(self.description), self.description.name).shape
        bands = Bands(shape)
        packed = packed_weights(self.model, self.description, self._refuse_conversion, self.packed_files)
        spectrum = _noise(shape)
        network = RoformerNetwork(packed.arrays, shape, bands, _FRAMES, threads=self.threads)
        found = _parts(network.masks(spectrum))
        del network
        weights = read_weights(read_checkpoint(self.model), shape, bands, self.model.name)
        expected = _parts(reference.masks(weights, shape, bands, spectrum))
        return snr_db(expected, expected, found)

    def _refuse_conversion(self) -> NoReturn:
        raise UvrError(f"{self.model.name} has changed, or its packed weights are gone.")


def require_agreement(
    model: Path, description: Path, fingerprint: str, library: Library, threads: int, packed_files: PackedFilesPolicy
) -> None:
    """Raise `KernelsRefusedError` if the kernels do not agree with `reference` on this model.

    `fingerprint` is that of the model's files, whose weights are packed.
    """
    comparison = ReferenceComparison(model, description, threads, packed_files)
    verdict = checked(Record(model, fingerprint.encode(), library), lambda _tries: comparison)
    if not verdict.agrees:
        raise KernelsRefusedError(f"the kernels cannot be used for {model.name}: {verdict.sentence}")


def _noise(shape: NetworkShape) -> Spectrum:
    random = np.random.default_rng(0)
    size = (shape.channels, shape.bins, _FRAMES)
    return (random.standard_normal(size) + 1j * random.standard_normal(size)).astype(np.complex64)


def _parts(masks: Spectrum) -> Floats:
    return np.ascontiguousarray(masks).view(np.float32)
