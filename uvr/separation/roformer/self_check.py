"""Compares the kernels with `reference` once per model, library and processor, when the model is loaded.

Both compute the masks of a short spectrum of noise. The verdict is kept next to the model, as that of MDX-Net's kernels
is (`native.self_check`). Kernels that do not agree are refused: `reference` itself is too slow for a song.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog

from uvr.errors import UvrError
from uvr.separation.native.bindings import Library
from uvr.separation.native.self_check import Record, Verdict, snr_db
from uvr.separation.roformer import reference
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.reference import Spectrum
from uvr.separation.roformer.weights import RoformerWeights

log = structlog.get_logger()

_FRAMES = 48


class KernelsRefusedError(UvrError):
    """The kernels do not compute this model as they should; the message says how that was found."""


def require_agreement(
    model: Path,
    fingerprint: str,
    library: Library,
    read: Callable[[], RoformerWeights],
    shape: NetworkShape,
    bands: Bands,
    network_of: Callable[[int], RoformerNetwork],
) -> None:
    """Raise `KernelsRefusedError` if the kernels do not agree with `reference` on this model.

    `read` gives the model's weights, and `network_of` its network on the kernels for a number of frames.
    """
    record = Record(model, fingerprint.encode(), library)
    verdict = record.read()
    if not verdict.is_final:
        with record.lock():
            verdict = record.read()  # another process may have made the check meanwhile
            if not verdict.is_final:
                verdict = _checked(record, read(), shape, bands, network_of(_FRAMES))
    if not verdict.agrees:
        raise KernelsRefusedError(f"the kernels cannot be used for {model.name}: {verdict.sentence}")


def _checked(
    record: Record, weights: RoformerWeights, shape: NetworkShape, bands: Bands, network: RoformerNetwork
) -> Verdict:
    record.begin()
    spectrum = _noise(shape)
    expected, found = (
        _parts(masks) for masks in (reference.masks(weights, shape, bands, spectrum), network.masks(spectrum))
    )
    verdict = record.conclude(snr_db(expected, expected, found))
    log.info("network.checked", snr_db=verdict.snr_db)
    return verdict


def _noise(shape: NetworkShape) -> Spectrum:
    random = np.random.default_rng(0)
    size = (shape.channels, shape.bins, _FRAMES)
    return (random.standard_normal(size) + 1j * random.standard_normal(size)).astype(np.complex64)


def _parts(masks: Spectrum) -> Floats:
    return np.ascontiguousarray(masks).view(np.float32)
