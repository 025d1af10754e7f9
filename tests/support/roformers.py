"""Small RoFormers with random weights, and files in the forms in which checkpoints come, written without torch."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Tensor
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.weights import RoformerWeights, read_weights, tensor_sizes

Tensors = dict[str, NDArray[Any]]

_SMALL = {"stereo": True, "time_transformer_depth": 1, "freq_transformer_depth": 1}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "bands_of_bs_roformer": {
        **_SMALL,
        "dim": 48,
        "depth": 2,
        "num_stems": 1,
        "freqs_per_bands": (4,) * 8 + (16,) * 8 + (64,) * 6 + (240, 241),
        "dim_head": 16,
        "heads": 4,
        "mask_estimator_depth": 2,
    },
    "linear_attention_and_three_stems": {
        **_SMALL,
        "dim": 33,
        "depth": 1,
        "num_stems": 3,
        "time_transformer_depth": 2,
        "linear_transformer_depth": 1,
        "freqs_per_bands": (25,) * 41,
        "dim_head": 10,
        "heads": 3,
        "mask_estimator_depth": 3,
    },
    "deep_mel_bands": {
        **_SMALL,
        "dim": 32,
        "depth": 2,
        "num_stems": 2,
        "freq_transformer_depth": 2,
        "num_bands": 60,
        "dim_head": 64,
        "heads": 2,
        "mask_estimator_depth": 2,
    },
    "mono": {
        **_SMALL,
        "stereo": False,
        "dim": 32,
        "depth": 1,
        "num_stems": 1,
        "num_bands": 64,
        "dim_head": 8,
        "heads": 3,
    },
    "kims_hop": {
        **_SMALL,
        "dim": 40,
        "depth": 1,
        "num_stems": 1,
        "num_bands": 60,
        "dim_head": 32,
        "heads": 2,
        "stft_hop_length": 441,
        "mask_estimator_depth": 2,
    },
    "short_window": {
        **_SMALL,
        "dim": 16,
        "depth": 1,
        "num_stems": 2,
        "freqs_per_bands": (8,) * 32 + (1,),
        "stft_n_fft": 512,
        "stft_win_length": 400,
        "stft_hop_length": 128,
        "dim_freqs_in": 257,
        "dim_head": 12,
        "heads": 5,
        "mlp_expansion_factor": 1,
        "mask_estimator_depth": 1,
    },
}
"""Networks that differ in everything that the constructors of audio-separator take."""


def random_network(geometry: Mapping[str, Any], seed: int = 0) -> tuple[NetworkShape, Bands, RoformerWeights, Tensors]:
    """A network with random weights, and the tensors of its checkpoint."""
    shape = NetworkShape(**geometry)
    bands, random = Bands(shape), np.random.default_rng(seed)
    tensors = {key: random_tensor(random, key, size) for key, size in tensor_sizes(shape, bands).items()}
    stored = {key: Tensor(tensor.shape, "float32", lambda tensor=tensor: tensor) for key, tensor in tensors.items()}
    return shape, bands, read_weights(stored, shape, bands, "random"), tensors


def random_tensor(random: np.random.Generator, key: str, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers of the magnitude that trained networks have in the tensor `key`."""
    if key.endswith("freqs"):
        return np.asarray(10_000.0 ** (-np.arange(size[0]) / size[0]), np.float32)
    return scaled(key, random.standard_normal(size, np.float32))


def scaled(key: str, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normal numbers as the gammas of a norm, the weights of a layer or biases."""
    if key.endswith("gamma"):
        return 1 + np.float32(0.2) * numbers
    return numbers * np.float32(numbers.shape[-1] ** -0.5 if numbers.ndim > 1 else 0.1)


def repeated_tensors(sizes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Tensors of these sizes whose numbers are cut from the same million, which takes no time for large networks."""
    many = np.random.default_rng(0).standard_normal(1_000_003, np.float32)
    for place, (key, size) in enumerate(sorted(sizes.items())):
        if key.endswith("freqs"):
            yield key, random_tensor(np.random.default_rng(0), key, size)
        else:
            yield key, scaled(key, np.resize(np.roll(many, 7919 * place), size))


def random_spectrum(shape: NetworkShape, frames: int, seed: int = 0) -> NDArray[np.complex64]:
    random = np.random.default_rng(seed)
    size = (shape.channels, shape.bins, frames)
    return (random.standard_normal(size) + 1j * random.standard_normal(size)).astype(np.complex64)


def write_model(
    folder: Path, name: str, geometry: Mapping[str, Any], stems: list[str], *, target: str | None = None, seed: int = 0
) -> Path:
    """A checkpoint `name` with its YAML file, whose chunks have 87 frames."""
    path = folder / name
    _, _, _, tensors = random_network(geometry, seed)
    path.write_bytes(b"")
    (write_safetensors if path.suffix == ".safetensors" else write_zip)(path, tensors)
    return write_description(path, description(geometry, stems, target))


def write_description(path: Path, content: Mapping[str, Any]) -> Path:
    """The YAML file beside the checkpoint `path`, which is returned."""
    path.with_suffix(".yaml").write_text(yaml.dump(content))
    return path


def description(geometry: Mapping[str, Any], stems: list[str], target: str | None = None) -> dict[str, Any]:
    """The content of a YAML file."""
    return {
        "audio": {"chunk_size": 44_032, "num_channels": 2, "sample_rate": 44_100},
        "model": dict(geometry),
        "training": {"instruments": stems, "target_instrument": target},
        "inference": {"batch_size": 1, "dim_t": 87, "num_overlap": 2},
    }


_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage", "int64": "LongStorage"}


def write_zip(path: Path, tensors: Tensors, kind: str = "") -> None:
    """A checkpoint as torch.save writes it. `kind` "bfloat16" says that the arrays are the bits of such numbers."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled(tensors, kind))
        archive.writestr("archive/byteorder", "little")
        for number, tensor in enumerate(tensors.values()):
            # A transposed tensor is stored as it lies in memory, and described by its strides.
            archive.writestr(f"archive/data/{number}", np.ascontiguousarray(_in_memory_order(tensor)).tobytes())
        archive.writestr("archive/version", "3\n")


def pickled(tensors: Tensors, kind: str = "") -> bytes:
    """The pickle that describes `tensors`, each in a storage of its own."""
    parts = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    for number, (name, tensor) in enumerate(tensors.items()):
        storage = f"ctorch\n{_STORAGES[kind or tensor.dtype.name]}\n".encode()
        strides = tuple(stride // tensor.itemsize for stride in tensor.strides)
        identity = b"(" + _text("storage") + storage + _text(str(number)) + _text("cpu") + _number(tensor.size) + b"tQ"
        arguments = (
            identity + _number(0) + _tuple(tensor.shape) + _tuple(strides) + b"\x89ccollections\nOrderedDict\n)R"
        )
        parts.append(_text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR")
    return b"".join([*parts, b"u."])


def write_safetensors(path: Path, tensors: Tensors) -> None:
    names = {"float32": "F32", "float16": "F16"}
    header, place = {}, 0
    for name, tensor in tensors.items():
        entry = {
            "dtype": names[tensor.dtype.name],
            "shape": tensor.shape,
            "data_offsets": (place, place + tensor.nbytes),
        }
        header[name], place = entry, place + tensor.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(each.tobytes() for each in tensors.values()))


def _in_memory_order(tensor: NDArray[Any]) -> NDArray[Any]:
    return tensor.transpose(np.argsort([-stride for stride in tensor.strides], kind="stable"))


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _tuple(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, numbers)) + b"t"
