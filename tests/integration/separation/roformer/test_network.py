"""RoFormers on the kernels, compared with the plain formulas and with audio-separator's own classes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.audio import snr_db
from tests.support.roformers import GEOMETRIES, random_network, random_spectrum
from uvr.separation.native.bindings import InstructionSet
from uvr.separation.native.roformer import aligned
from uvr.separation.roformer import reference
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats, read_checkpoint
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.packing import packed_arrays
from uvr.separation.roformer.weights import RoformerWeights, read_weights

ROOT = Path(__file__).resolve().parents[4]
FRAMES = 101


def in_memory(weights: RoformerWeights, shape: NetworkShape) -> dict[str, Floats]:
    arrays = {}
    for name, array in packed_arrays(weights, shape):
        arrays[name] = aligned(*array.shape)
        arrays[name][...] = array
    return arrays


# The others take minutes on an emulated processor.
EMULATED = ("bands_of_bs_roformer", "mono", "short_window")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.kernels if name in EMULATED else ()) for name in GEOMETRIES]
)
def test_kernels_compute_the_formulas(name: str, instruction_set: InstructionSet) -> None:
    shape, bands, weights, _ = random_network(GEOMETRIES[name])
    spectrum, arrays = random_spectrum(shape, FRAMES), in_memory(weights, shape)
    expected = reference.masks(weights, shape, bands, spectrum)
    results = [
        RoformerNetwork(arrays, shape, bands, FRAMES, threads=threads, instruction_set=instruction_set).masks(spectrum)
        for threads in (1, 3)
    ]
    assert np.array_equal(*results)
    assert snr_db(parts(expected), parts(results[0])) > 110


@pytest.mark.usefixtures("kernels")
def test_progress_comes_after_each_layer_and_stops_the_work() -> None:
    shape, bands, weights, _ = random_network(GEOMETRIES["deep_mel_bands"])
    network = RoformerNetwork(in_memory(weights, shape), shape, bands, FRAMES, threads=1)
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        network.masks(random_spectrum(shape, FRAMES), stop)
    assert shares == pytest.approx([number / 8 for number in range(1, 6)])  # six layers, two stems


@pytest.fixture(scope="module")
def references(audio_separator_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roformers")
    program = [audio_separator_python, "-m", "tests.support.roformer_references", folder]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_masks_are_those_of_audio_separators_classes(name: str, references: Path) -> None:
    shape = NetworkShape(**GEOMETRIES[name])
    bands, known = Bands(shape), np.load(references / f"{name}.npz")
    path = references / f"{name}.ckpt"
    weights = read_weights(read_checkpoint(path), shape, bands, path.name)
    spectrum = np.ascontiguousarray(known["spectrum"])
    network = RoformerNetwork(in_memory(weights, shape), shape, bands, spectrum.shape[-1], threads=2)
    assert snr_db(parts(known["masks"]), parts(network.masks(spectrum))) > 100


def parts(numbers: Any) -> Any:
    """Real and imaginary parts as one row."""
    return np.ascontiguousarray(numbers).view(np.float32).reshape(1, -1)
