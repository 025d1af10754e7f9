"""Reads the weights of a checkpoint without torch: `.ckpt` and `.pth` in torch's zip format, and `.safetensors`.

The files come from strangers. Nothing in them is executed (`tensor_pickle`), every size is checked against the file
before memory is used for it, and the bytes of a tensor are read when they are asked for.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uvr.errors import PermanentError
from uvr.separation.roformer.tensor_pickle import MAX_PICKLE_BYTES, StoredTensor, UnreadablePickleError, read_tensors

Floats = NDArray[np.float32]

_MAX_READ_BYTES = 1 << 23
_DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    RuntimeError,  # an entry that is encrypted, or compressed in an unknown way
    EOFError,
    KeyError,
    struct.error,
    ValueError,
    OverflowError,
)
_FLOAT_TYPES = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "float64": "<f8"}
_SAFETENSORS_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_ZIP = b"PK\x03\x04"
_MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint."""

    size: tuple[int, ...]
    type: str
    read: Callable[[], Floats]
    """Returns it as float32, in C order."""


def read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """The tensors with floating point numbers in the checkpoint `path`, by name.

    Raises `PermanentError` if it cannot be read, with a sentence that names the file and says what to do.
    """
    try:
        tensors = _tensors_of(path)
    except UnreadablePickleError as error:
        raise PermanentError(f"{path.name} {error.message}") from error
    except _DAMAGED as error:
        raise PermanentError(f"{path.name} is damaged: delete it and download it again.") from error
    # Tensors may share what is stored, as the tables of rotary embeddings do, but not so that they fill the memory.
    stored_bytes = sum(math.prod(each.size) * np.dtype(_FLOAT_TYPES[each.type]).itemsize for each in tensors.values())
    if stored_bytes > 2 * path.stat().st_size:
        raise PermanentError(f"{path.name} is damaged: its tensors are larger than the file.")
    return tensors


def shown(name: str) -> str:
    """The name of a tensor for a message, which stays short and has one line."""
    return "".join(each if each.isprintable() else "?" for each in name[:100])


def _tensors_of(path: Path) -> Mapping[str, Tensor]:
    with path.open("rb") as file:
        head = file.read(len(_ZIP))
    if head.startswith(_ZIP):
        with _CautiousFile(path) as cautious, zipfile.ZipFile(cautious) as archive:
            return _of_archive(path, archive)
    if path.suffix.lower() == ".safetensors":
        return _of_safetensors(path)
    if head[:1] == b"\x80":
        raise PermanentError(
            f"{path.name} is in the format of torch before 1.6, which may run code when it is read. Convert it with "
            "torch: torch.save(torch.load(OLD, weights_only=True), NEW)."
        )
    raise PermanentError(f"{path.name} is not a checkpoint: delete it and download it again.")


class _CautiousFile(io.FileIO):
    """A file whose parts are read only if they are small: a list of the archive's files may claim any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        wanted = left if size is None or size < 0 else size
        if wanted > _MAX_READ_BYTES:
            raise zipfile.BadZipFile
        return super().read(wanted)


def _of_archive(path: Path, archive: zipfile.ZipFile) -> Mapping[str, Tensor]:
    entries = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(pickles) != 1:
        raise PermanentError(f"{path.name} is not a checkpoint of torch: it needs exactly one data.pkl.")
    folder = pickles[0].removesuffix("data.pkl")
    description, order = entries[pickles[0]], entries.get(f"{folder}byteorder")
    if any(
        entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_PICKLE_BYTES
        for entry in (description, order or description)
    ):
        raise PermanentError(
            f"{path.name} describes its tensors in a way that torch does not: save it again with torch."
        )
    if order and archive.read(order)[:6] != b"little":
        raise PermanentError(
            f"{path.name} was written on a machine with another byte order: save it again on this one."
        )
    offsets = {
        name.removeprefix(f"{folder}data/"): _content_of(path, info)
        for name, info in entries.items()
        if name.startswith(f"{folder}data/")
    }
    return {
        name: _of_storage(path, name, tensor, offsets)
        for name, tensor in read_tensors(archive.read(description)).items()
        if tensor.type in _FLOAT_TYPES
    }


def _content_of(path: Path, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where the content of an entry begins in the file, and how long it is."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise PermanentError(f"{path.name} is compressed, which torch does not do: save it again with torch.")
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != _ZIP:
        raise zipfile.BadZipFile
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + 30 + names
    if start + info.file_size > path.stat().st_size:
        raise zipfile.BadZipFile
    return start, info.file_size


def _of_storage(path: Path, name: str, tensor: StoredTensor, offsets: Mapping[str, tuple[int, int]]) -> Tensor:
    start, size_bytes = offsets[tensor.storage]
    dtype = np.dtype(_FLOAT_TYPES[tensor.type])
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.size, tensor.stride, strict=True))
    if (
        0 in tensor.size
        or (last + 1) * dtype.itemsize > size_bytes
        or math.prod(tensor.size) * dtype.itemsize > size_bytes
    ):
        raise PermanentError(f"{path.name} is damaged: {shown(name)} is larger than what is stored of it.")

    def read() -> Floats:
        stored = _stored(path, dtype, start + tensor.offset * dtype.itemsize, last + 1 - tensor.offset)
        strides = [stride * dtype.itemsize for stride in tensor.stride]
        return _as_float32(np.lib.stride_tricks.as_strided(stored, tensor.size, strides), tensor.type)

    return Tensor(tensor.size, tensor.type, read)


def _of_safetensors(path: Path) -> Mapping[str, Tensor]:
    """https://github.com/huggingface/safetensors: the length of a JSON header, the header, and the bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MAX_READ_BYTES, path.stat().st_size - 8):
            raise PermanentError(f"{path.name} is damaged: delete it and download it again.")
        try:
            header = json.loads(file.read(length))
            entries = {name: _entry_of(value) for name, value in header.items() if name != "__metadata__"}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PermanentError(f"{path.name} is damaged: its header makes no sense.") from error
    return {
        name: _of_bytes(path, name, 8 + length, *entry) for name, entry in entries.items() if entry[0] in _FLOAT_TYPES
    }


def _entry_of(value: Mapping[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    size, (begin, end) = tuple(value["shape"]), value["data_offsets"]
    if len(size) > _MAX_DIMENSIONS or not all(map(_is_count, (*size, begin, end))):
        raise ValueError("no tensor")
    return _SAFETENSORS_TYPES.get(value["dtype"], ""), size, begin, end


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _of_bytes(path: Path, name: str, start: int, kind: str, size: tuple[int, ...], begin: int, end: int) -> Tensor:
    dtype = np.dtype(_FLOAT_TYPES[kind])
    if 0 in size or end - begin != math.prod(size) * dtype.itemsize or start + end > path.stat().st_size:
        raise PermanentError(f"{path.name} is damaged: {shown(name)} is larger than what is stored of it.")

    def read() -> Floats:
        return _as_float32(_stored(path, dtype, start + begin, math.prod(size)).reshape(size), kind)

    return Tensor(size, kind, read)


def _stored(path: Path, dtype: np.dtype[Any], place: int, count: int) -> NDArray[Any]:
    """Numbers of the file. Not mapped: if the file became shorter meanwhile, that would kill the process."""
    numbers = np.fromfile(path, dtype, count, offset=place)
    if len(numbers) < count:
        raise PermanentError(f"{path.name} became shorter while it was read.")
    return numbers


def _as_float32(stored: NDArray[Any], kind: str) -> Floats:
    if kind == "bfloat16":  # the upper half of a float32
        return (np.ascontiguousarray(stored).astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(stored, np.float32)
