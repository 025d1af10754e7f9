"""Reads the pickle in which torch keeps the tensors of a checkpoint, and nothing but tensors.

A pickle is a program: an ordinary unpickler calls what it names. This one is a machine with a stack that knows the
steps from which torch builds a dictionary of tensors, and the few names that such a dictionary contains. Everything else
ends in a sentence. It calls nothing, hashes nothing but short strings, and allocates no more than the pickle itself is
long.

The opcodes are those of Python's pickletools, which also finds truncated arguments. What torch writes is described by
torch/serialization.py and torch/_utils.py (2.13): a tensor is `_rebuild_tensor_v2(storage, offset, size, stride, …)`,
and a storage a persistent id `("storage", type, key, place, numel)`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uvr.errors import PermanentError

MAX_PICKLE_BYTES = 1 << 26
"""More than a hundred times what published models need."""

STORAGE_TYPES: Mapping[str, str] = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "BoolStorage": "bool",
}
"""What the elements of a storage are."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the checkpoint."""

    storage: str
    """The key of the storage, the name of a file in the archive."""
    type: str
    offset: int
    """The number of elements in front of the first one."""
    size: tuple[int, ...]
    stride: tuple[int, ...]
    """How many elements lie between neighbours of each dimension."""


@dataclass(frozen=True)
class _Name:
    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    type: str


class _Mark:
    """The beginning of a group on the stack."""


_DICTIONARIES = ("collections.OrderedDict", "builtins.dict")
_REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_KNOWN = (*_DICTIONARIES, _REBUILD_TENSOR, _REBUILD_PARAMETER, *(f"torch.{name}" for name in STORAGE_TYPES))
_MARK = _Mark()


class UnreadablePickleError(PermanentError):
    """The pickle is damaged, or has something else than tensors in it. The message completes "FILE …"."""


def read_tensors(content: bytes) -> dict[str, StoredTensor]:
    """The tensors in the pickle of a checkpoint, by their names.

    They may lie in its entry `state_dict` or `model`, as audio-separator accepts it. Raises `UnreadablePickleError`.
    """
    found = _Machine().run(content)
    for entry in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(entry), dict):
            found = found[entry]
            break
    if not isinstance(found, dict):
        raise UnreadablePickleError("does not contain a dictionary of tensors.")
    return {name: value for name, value in found.items() if isinstance(value, StoredTensor)}


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        if len(content) > MAX_PICKLE_BYTES:
            raise UnreadablePickleError("describes its tensors in more than 64 MiB, which no model needs.")
        try:
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
        except UnreadablePickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UnreadablePickleError(
                "is damaged: its description of the tensors breaks off or makes no sense."
            ) from error
        raise UnreadablePickleError("is damaged: its description of the tensors breaks off.")

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case (
                "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT"
                | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "SHORT_BINSTRING" | "BINSTRING"
            ):  # fmt: skip
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "TUPLE":
                stack.append(tuple(self._group()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(opcode[-1]) :] = [tuple(stack[-int(opcode[-1]) :])]
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = self._group()
                stack[-1].extend(values)
            case "SETITEM":
                self._set([stack.pop(-2), stack.pop()])
            case "SETITEMS":
                self._set(self._group())
            case "GLOBAL":
                stack.append(_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                text = stack.pop()
                stack.append(_name(stack.pop(), text))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_called(stack.pop(), arguments))
            case "BUILD":  # attributes of a dictionary, such as torch's `_metadata`, say nothing about the tensors
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise UnreadablePickleError("contains an object with a state, which no tensor has.")
            case _:
                raise UnreadablePickleError(f"contains something else than tensors (opcode {opcode}).")

    def _group(self) -> list[Any]:
        """The values above the last mark, which are taken away with it."""
        start = len(self._stack) - 1
        while self._stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise IndexError
        values = self._stack[start + 1 :]
        del self._stack[start:]
        return values

    def _set(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(
                key, str | int
            ):  # the hash of a deeply nested tuple would overflow the interpreter's stack
                raise UnreadablePickleError("contains a dictionary whose keys are no names.")
            target[key] = value


def _name(module: Any, name: Any) -> _Name:
    text = f"{module}.{name}"[:100] if isinstance(module, str) and isinstance(name, str) else "?"
    if text.startswith("__builtin__."):
        text = text.replace("__builtin__", "builtins", 1)
    if text not in _KNOWN:
        raise UnreadablePickleError(f"asks for {text!r}, which has no place among tensors. It may be an attack.")
    return _Name(text)


def _storage(identity: Any) -> _Storage:
    kind, type_name, key, _place, _count = identity
    if kind != "storage" or not isinstance(type_name, _Name) or not isinstance(key, str):
        raise ValueError("no storage")
    return _Storage(key, STORAGE_TYPES[type_name.text.removeprefix("torch.")])


def _called(function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise ValueError("no call")
    if function.text in _DICTIONARIES and arguments in ((), ([],)):
        return {}
    if function.text == _REBUILD_TENSOR:
        storage, offset, size, stride = arguments[:4]
        if not isinstance(storage, _Storage) or not all(map(_is_count, (offset, *size, *stride))):
            raise ValueError("no tensor")
        if len(size) != len(stride) or len(size) > 8:
            raise ValueError("no shape")
        return StoredTensor(storage.key, storage.type, offset, tuple(size), tuple(stride))
    if function.text == _REBUILD_PARAMETER and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    raise ValueError("no tensor")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40
