"""RoFormers on the kernels, compared with the plain formulas and with audio-separator's own classes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.audio import snr_db
from tests.support.published_roformers import PUBLISHED, one_block, published_description
from tests.support.roformers import GEOMETRIES, random_network, random_spectrum, repeated_tensors
from uvr.separation.native.bindings import InstructionSet
from uvr.separation.native.roformer import aligned
from uvr.separation.roformer import reference
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Tensor, read_checkpoint
from uvr.separation.roformer.configuration import NetworkShape, read_configuration
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.packing import Packed, packed_arrays
from uvr.separation.roformer.weights import RoformerWeights, read_weights, tensor_sizes

ROOT = Path(__file__).resolve().parents[4]
FRAMES = 101
ONE_BLOCK = ("ep_317", "kim", "resurrection", "room")
LARGE_ONE_BLOCK = ("sw", "deux", "big_beta_5e", "four_stems")
"""Of the other published networks, ep_368 has the same sizes as ep_317, karaoke as kim, and guitar cannot be loaded."""


def in_memory(weights: RoformerWeights, shape: NetworkShape, terms: int = 0) -> dict[str, Packed]:
    arrays = {}
    for name, array in packed_arrays(weights, shape, terms):
        arrays[name] = aligned(*array.shape, dtype=array.dtype)
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
@pytest.mark.parametrize("name", ["bands_of_bs_roformer", "linear_attention_and_three_stems", "mono"])
def test_kernels_in_bfloat16_are_close_to_the_formulas(name: str) -> None:
    """With the tiles of this processor, if it has some."""
    shape, bands, weights, _ = random_network(GEOMETRIES[name])
    spectrum = random_spectrum(shape, FRAMES)
    expected = reference.masks(weights, shape, bands, spectrum)
    for terms, least_db in ((1, 40), (3, 95)):
        arrays = in_memory(weights, shape, terms)
        results = [
            RoformerNetwork(arrays, shape, bands, FRAMES, threads=threads, terms=terms).masks(spectrum)
            for threads in (1, 3)
        ]
        assert np.array_equal(*results)
        assert snr_db(parts(expected), parts(results[0])) > least_db


@pytest.mark.usefixtures("kernels")
def test_arrays_of_other_terms_are_refused() -> None:
    shape, bands, weights, _ = random_network(GEOMETRIES["mono"])
    arrays = in_memory(weights, shape, 1)
    for terms in (0, 3):
        with pytest.raises(ValueError, match="weight of shape"):
            RoformerNetwork(arrays, shape, bands, FRAMES, threads=1, terms=terms)


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


def write_references(python: Path, folder: Path, *published: str) -> Path:
    program = [python, "-m", "tests.support.roformer_references", folder, *published]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def references(audio_separator_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_references(audio_separator_python, tmp_path_factory.mktemp("roformers"))


@pytest.fixture(scope="module")
def published_masks(audio_separator_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_references(audio_separator_python, tmp_path_factory.mktemp("published"), *ONE_BLOCK)


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


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", ONE_BLOCK)
def test_masks_of_published_sizes_are_those_of_audio_separators_classes(name: str, published_masks: Path) -> None:
    assert mask_snr_db(name, published_masks) > 100


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", LARGE_ONE_BLOCK)
def test_masks_of_large_published_sizes_are_those_of_audio_separators_classes(
    name: str, audio_separator_python: Path, tmp_path: Path
) -> None:
    assert mask_snr_db(name, write_references(audio_separator_python, tmp_path, name)) > 100


def mask_snr_db(name: str, folder: Path) -> float:
    """How well our masks of a published network with a single block agree with those in the folder."""
    shape = NetworkShape(**one_block(name))
    bands, known = Bands(shape), np.load(folder / f"{name}.npz")
    tensors = {
        key: Tensor(tensor.shape, "float32", lambda tensor=tensor: tensor)
        for key, tensor in repeated_tensors(tensor_sizes(shape, bands))
    }
    arrays = in_memory(read_weights(tensors, shape, bands, name), shape)
    spectrum = np.ascontiguousarray(known["spectrum"])
    network = RoformerNetwork(arrays, shape, bands, spectrum.shape[-1], threads=2)
    return snr_db(parts(known["masks"]), parts(network.masks(spectrum)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_tensors_of_a_published_network_are_those_of_audio_separators_loader(name: str, references: Path) -> None:
    shape = read_configuration(published_description(name), name).shape
    expected = tensor_sizes(shape, Bands(shape))
    found = {key: tuple(size) for key, size in json.loads((references / "sizes.json").read_text())[name].items()}
    different = {key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)}
    if "audio_separator" in PUBLISHED[name]:  # says why it makes another network, into which the file does not fit
        assert all(".to_freqs." in key for key in different)
    else:
        assert not different


def parts(numbers: Any) -> Any:
    """Real and imaginary parts as one row."""
    return np.ascontiguousarray(numbers).view(np.float32).reshape(1, -1)
