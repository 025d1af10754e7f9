"""The packed weights of a checkpoint in a file that is mapped into memory.

A checkpoint is converted once, one array after the other. Every later start maps the file, which takes milliseconds,
and all processes that use the model share its memory. `PackedFilesPolicy` says where the file lies. Its name holds a
hash of what it was made from, so a changed model is converted again; files whose model has changed or is gone are
removed when a model is opened, and by the processor (`ModelLibrary.clean_up`). What a killed conversion has left is
removed when a model is opened.

A model has a file for each number of terms that was used (`uvr.separation.precision`): in one term it takes half the
room, and processors of several kinds may share the folder. All of them stay: on a network file system, a process of
another machine dies if a file that it maps is removed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from uvr.disk import sync
from uvr.errors import DiskFullError, NoRoomForModelError, OutOfMemoryError, PermanentError, TransientError, disk_error
from uvr.models.files import file_lock, fingerprint, is_locked
from uvr.models.packed_files import SUFFIX, PackedFilesPolicy, owner_of
from uvr.separation.precision import BFLOAT16_TERMS, TERMS
from uvr.separation.roformer import packing
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.packing import Packed
from uvr.separation.roformer.weights import tensor_sizes

log = structlog.get_logger()

_MAGIC = b"UVRROF01"
_LINE_BYTES = 64
_PART = ".part"
_HEADER = len(_MAGIC) + 8
_HEAD_BYTES, _TAIL_BYTES, _SAMPLE_BYTES = 1 << 16, 1 << 20, 1 << 12
_SAMPLES = 64

Arrays = Mapping[str, Packed]


@dataclass(frozen=True)
class PackedWeights:
    """The weights of a model in the order in which the kernels read them."""

    arrays: Arrays
    """By name, read-only and shared by all processes."""
    terms: int
    """Of the products that they are made for."""
    fingerprint: str
    """Of the files that they were made from (`engine.Engine`)."""


@dataclass(frozen=True)
class Conversion:
    """What makes a packed file."""

    max_bytes: int
    """More than the file takes (`max_packed_bytes`)."""
    arrays: Iterable[tuple[str, Packed]]
    """The packed arrays by name. Each is made when it is asked for, so that memory is needed for one of them only."""
    terms: int = 0


def max_packed_bytes(shape: NetworkShape, terms: int) -> int:
    """More than a packed file takes: layers are rounded up, which adds 1 to 3 % to published models.

    A number has two bytes in one term, and else four. Linear attention always has four: numpy computes it.
    """
    numbers = _numbers(shape)
    in_half = _numbers(shape.model_copy(update={"linear_transformer_depth": 0})) if terms == BFLOAT16_TERMS else 0
    return 5 * (2 * numbers - in_half) // 2 + (1 << 24)


def _numbers(shape: NetworkShape) -> int:
    """How many numbers the tensors of the checkpoint have."""
    return sum(map(math.prod, tensor_sizes(shape, Bands(shape)).values()))


def packed_weights(
    model: Path, description: Path, make: Callable[[], Conversion], policy: PackedFilesPolicy, terms: int = 0
) -> PackedWeights:
    """The packed weights of `model` for so many terms; `make` gives them if they are not there yet.

    Of several processes that start at once, one converts and the others wait for it. Raises `NoRoomForModelError` or
    `OutOfMemoryError` if there is no room for the weights, and the errors of `make`.
    """
    try:
        folder = policy.folder_for(model.parent)
        with file_lock(folder / model.name):
            paths = _paths(folder, model, description)
            path = paths[terms]
            remove_stale(folder, model, keep=paths.values())
            _remove_parts(folder)
            weights = _mapped(path, terms)
            if weights is None:
                conversion = make()
                policy.require_room(folder, model.name, conversion.max_bytes)
                _convert(model, description, conversion, path)
                weights = _mapped(path, terms)
    except MemoryError as error:
        raise OutOfMemoryError(f"There is not enough memory to convert {model.name}.") from error
    except OSError as error:
        failure = disk_error(error, f"{model.name} could not be converted")
        raise NoRoomForModelError(failure.message) if isinstance(failure, DiskFullError) else failure from error
    assert weights is not None
    return weights


def converted_weights(model: Path, description: Path, policy: PackedFilesPolicy) -> dict[int, PackedWeights]:
    """The packed weights that the present state of `model` has, by their terms; none are made."""
    with suppress(OSError):
        paths = _paths(policy.folder_for(model.parent, create=False), model, description)
        found = {terms: _mapped(path, terms) for terms, path in paths.items()}
        return {terms: weights for terms, weights in found.items() if weights}
    return {}


def remove_stale(folder: Path, model: Path, keep: Collection[Path]) -> None:
    """Remove the packed files of older states of `model`, and those whose models are gone.

    `keep` are those of its present state. A process of this machine that still maps such a file keeps it until it ends.
    """
    for path in folder.glob(f".*{SUFFIX}*"):
        owner = owner_of(path)
        if path not in keep and (owner == model.name or not (model.parent / owner).exists()):
            log.info("roformer.stale_file_removed", file=path.name)
            path.unlink(missing_ok=True)


def _remove_parts(folder: Path) -> None:
    """Remove what is left of conversions that were killed, of any model."""
    for part in folder.glob(f".*{SUFFIX}.*{_PART}"):
        if (owner := owner_of(part)) and not is_locked(folder / owner):
            log.info("roformer.part_removed", file=part.name)
            part.unlink(missing_ok=True)


def _paths(folder: Path, model: Path, description: Path) -> dict[int, Path]:
    """The packed files of a model by their terms.

    Their names change with the model: they have a hash of its size, its time and samples of it, because a start reads
    no whole files. The end of a checkpoint of torch has a checksum of every tensor.
    """
    about = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (model, description)]
    common = hashlib.sha256(json.dumps([about, packing.FORMAT, packing.PANEL]).encode())
    common.update(description.read_bytes())
    for sample in _samples(model):
        common.update(sample)
    paths = {}
    for terms in TERMS:
        digest = common.copy()
        digest.update(str(terms).encode())
        paths[terms] = folder / f".{model.name}.{digest.hexdigest()[:16]}{SUFFIX}"
    return paths


def _samples(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    places = [(size * number // _SAMPLES, _SAMPLE_BYTES) for number in range(_SAMPLES)]
    with path.open("rb") as file:
        for start, length in [(0, _HEAD_BYTES), *places, (max(size - _TAIL_BYTES, 0), _TAIL_BYTES)]:
            file.seek(start)
            yield file.read(length)


def _convert(model: Path, description: Path, conversion: Conversion, path: Path) -> None:
    began = time.monotonic()
    log.info("roformer.converting", model=model.name, terms=conversion.terms, max_bytes=conversion.max_bytes)
    part = path.with_name(f"{path.name}.{os.getpid()}{_PART}")
    try:
        _write(part, conversion, fingerprint([model, description], "roformer"), model.name)
        if path not in _paths(path.parent, model, description).values():
            raise TransientError(f"{model.name} was replaced while it was converted.")
        part.replace(path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
    elapsed_s = round(time.monotonic() - began, 1)
    log.info("roformer.converted", model=model.name, bytes=path.stat().st_size, elapsed_s=elapsed_s)


def _write(path: Path, conversion: Conversion, made_from: str, name: str) -> None:
    """Write the arrays, each from a multiple of 64 bytes on, and then an index."""
    with path.open("wb") as file:
        file.write(bytes(_HEADER))
        index = {}
        for array_name, array in conversion.arrays:
            file.write(bytes(-file.tell() % _LINE_BYTES))
            index[array_name] = (file.tell(), array.shape, array.dtype.name)
            file.write(np.ascontiguousarray(array).data)
            if file.tell() > conversion.max_bytes:
                raise PermanentError(f"{name} has much narrower bands than any known model, and is not converted.")
        start = file.tell()
        file.write(json.dumps({"fingerprint": made_from, "arrays": index}).encode())
        file.seek(0)
        file.write(_MAGIC + start.to_bytes(8, "little"))
    sync(path)


def _mapped(path: Path, terms: int) -> PackedWeights | None:
    """The weights in the file for so many terms; None if there is none, or if it is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = np.memmap(path, np.uint8, "r")
        start = int.from_bytes(content[len(_MAGIC) : _HEADER].tobytes(), "little")
        if content[: len(_MAGIC)].tobytes() != _MAGIC:
            return None
        index = json.loads(content[start:].tobytes())
        arrays = {name: _array(content, *entry) for name, entry in index["arrays"].items()}
        return PackedWeights(arrays, terms, index["fingerprint"])
    return None


def _array(content: NDArray[np.uint8], place: int, shape: Iterable[int], kind: str) -> Packed:
    shape, dtype = tuple(shape), np.dtype(kind)
    return content[place : place + dtype.itemsize * math.prod(shape)].view(dtype).reshape(shape)
