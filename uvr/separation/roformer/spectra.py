"""Spectra as the transform has them and as the networks have them."""

from __future__ import annotations

import numpy as np

from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.reference import Spectrum


def joined(parts: Floats) -> Spectrum:
    """(2 · channels, bins, frames), real and imaginary part of each channel, as (channels, bins, frames)."""
    real, imaginary = parts.reshape(-1, 2, *parts.shape[1:]).swapaxes(0, 1)
    spectrum = np.empty(real.shape, np.complex64)
    spectrum.real, spectrum.imag = real, imaginary
    return spectrum


def parted(spectrum: Spectrum) -> Floats:
    """The inverse of `joined`."""
    return np.stack([spectrum.real, spectrum.imag], axis=1).reshape(-1, *spectrum.shape[1:])
