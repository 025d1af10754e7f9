"""The packed weights of a checkpoint in a file that is mapped into memory.

A checkpoint is converted once. Every later start maps the file, which takes milliseconds, and all processes that use
the model share its memory. `PackedFilesPolicy` says where the file lies. Its name holds a hash of what it was made
from, so a changed model is converted again; files whose model has changed or is gone are removed when a model is
opened, and by the processor (`ModelLibrary.clean_up`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from uvr.disk import sync
from uvr.errors import DiskFullError, NoRoomForModelError, OutOfMemoryError, disk_error
from uvr.models.files import file_lock, fingerprint, stamp_of
from uvr.models.packed_files import SUFFIX, PackedFilesPolicy, owner_of
from uvr.separation.roformer import packing
from uvr.separation.roformer.checkpoint import Floats

log = structlog.get_logger()

_MAGIC = b"UVRROF01"
_LINE_BYTES = 64
_HEADER = len(_MAGIC) + 8

Arrays = Mapping[str, Floats]


@dataclass(frozen=True)
class PackedWeights:
    """The weights of a model in the order in which the kernels read them."""

    arrays: Arrays
    """By name, read-only and shared by all processes."""
    fingerprint: str
    """Of the files that they were made from (`engine.Engine`)."""


def packed_weights(
    model: Path, description: Path, make: Callable[[], Iterable[tuple[str, Floats]]], policy: PackedFilesPolicy
) -> PackedWeights:
    """The packed weights of `model`; `make` gives them if they are not there yet.

    Raises `NoRoomForModelError` or `OutOfMemoryError` if there is no room for them, and the errors of `make`.
    """
    try:
        folder = policy.folder_for(model.parent)
        path = folder / f".{model.name}.{_digest([model, description])}{SUFFIX}"
        with file_lock(folder / model.name):
            remove_stale(folder, model, keep=path)
            weights = _mapped(path)
            if weights is None:
                # Half precision becomes float32, and every layer is rounded up.
                policy.require_room(folder, model.name, 2 * model.stat().st_size + (1 << 24))
                _write(path, make(), fingerprint([model, description], "roformer"))
                weights = _mapped(path)
    except MemoryError as error:
        raise OutOfMemoryError(f"There is not enough memory to convert {model.name}.") from error
    except OSError as error:
        failure = disk_error(error, f"{model.name} could not be converted")
        raise NoRoomForModelError(failure.message) if isinstance(failure, DiskFullError) else failure from error
    assert weights is not None
    return weights


def remove_stale(folder: Path, model: Path, keep: Path) -> None:
    """Remove the packed files of older states of `model`, and those whose models are gone.

    A process that still maps such a file keeps it until it ends.
    """
    for path in folder.glob(f".*{SUFFIX}*"):
        owner = owner_of(path)
        if path != keep and (owner == model.name or not (model.parent / owner).exists()):
            log.info("roformer.stale_file_removed", file=path.name)
            path.unlink(missing_ok=True)


def _digest(files: Iterable[Path]) -> str:
    made_from = json.dumps([stamp_of(files), packing.FORMAT, packing.PANEL])
    return hashlib.sha256(made_from.encode()).hexdigest()[:16]


def _write(path: Path, arrays: Iterable[tuple[str, Floats]], made_from: str) -> None:
    """Write the file as a whole or not at all: the arrays, each from a multiple of 64 bytes on, and then an index."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(bytes(_HEADER))
            index = {}
            for name, array in arrays:
                file.write(bytes(-file.tell() % _LINE_BYTES))
                index[name] = (file.tell(), array.shape)
                file.write(np.ascontiguousarray(array, np.float32).data)
            start = file.tell()
            file.write(json.dumps({"fingerprint": made_from, "arrays": index}).encode())
            file.seek(0)
            file.write(_MAGIC + start.to_bytes(8, "little"))
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _mapped(path: Path) -> PackedWeights | None:
    """The weights in the file; None if there is none, or if it is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = np.memmap(path, np.uint8, "r")
        start = int.from_bytes(content[len(_MAGIC) : _HEADER].tobytes(), "little")
        if content[: len(_MAGIC)].tobytes() != _MAGIC:
            return None
        index = json.loads(content[start:].tobytes())
        arrays = {name: _array(content, *entry) for name, entry in index["arrays"].items()}
        return PackedWeights(arrays, index["fingerprint"])
    return None


def _array(content: NDArray[np.uint8], place: int, shape: Iterable[int]) -> Floats:
    shape = tuple(shape)
    return content[place : place + 4 * math.prod(shape)].view(np.float32).reshape(shape)
