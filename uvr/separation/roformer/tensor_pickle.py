"""Reads the pickle in which torch keeps the tensors of a checkpoint, and nothing but tensors.

A pickle is a program: an ordinary unpickler calls what it names. This one is a machine with a stack that knows the
steps from which torch builds a dictionary of tensors, and the few names that such a dictionary contains. Everything
else ends in a sentence. It calls nothing, hashes nothing but strings and short numbers, and uses at most 200 MB of
memory.

The opcodes are those of Python's pickletools, which also finds truncated arguments. What torch writes is described by
torch/serialization.py and torch/_utils.py (2.13): a tensor is `_rebuild_tensor_v2(storage, offset, size, stride, …)`,
and a storage a persistent id `("storage", type, key, place, numel)`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from uvr.errors import PermanentError

MAX_PICKLE_BYTES = 1 << 23
"""Ten times what the largest published models need."""
MAX_STEPS = 1_000_000
"""How many opcodes a pickle may have; the largest published models have a fifth of it."""

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
_MAX_DIMENSIONS = 8
_TOO_LONG = "describes its tensors in more than 8 MiB or a million steps, which no model needs."


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
    """The stack machine of a pickle, with those steps that dictionaries of tensors need."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """The object that the pickle describes."""
        if len(content) > MAX_PICKLE_BYTES:
            raise UnreadablePickleError(_TOO_LONG)
        try:
            for opcode, argument, _ in islice(pickletools.genops(content), MAX_STEPS):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
        except UnreadablePickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UnreadablePickleError(
                "is damaged: its description of the tensors breaks off or makes no sense."
            ) from error
        raise UnreadablePickleError(_TOO_LONG)

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _PUSHED:
            self._stack.append(_PUSHED[opcode](argument))
        elif opcode in _REPLACED:
            count, made = _REPLACED[opcode]
            values = [self._stack.pop() for _ in range(count)][::-1]
            self._stack.append(made(*values))
        elif step := _STEPS.get(opcode):
            step(self, argument)
        else:
            raise UnreadablePickleError(f"contains something else than tensors (opcode {opcode}).")

    def skip(self, _argument: Any) -> None:
        """PROTO and FRAME say how the pickle is stored."""

    def remember(self, argument: int | None) -> None:
        """BINPUT and MEMOIZE: the value on top can be had again."""
        self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]

    def recall(self, argument: int) -> None:
        """BINGET."""
        self._stack.append(self._memo[argument])

    def join(self, _argument: Any) -> None:
        """TUPLE."""
        self._stack.append(tuple(self._group()))

    def append(self, _argument: Any) -> None:
        """APPEND."""
        value = self._stack.pop()
        self._stack[-1].append(value)

    def extend(self, _argument: Any) -> None:
        """APPENDS."""
        values = self._group()
        self._stack[-1].extend(values)

    def set_one(self, _argument: Any) -> None:
        """SETITEM."""
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def set_many(self, _argument: Any) -> None:
        """SETITEMS."""
        self._set(self._group())

    def build(self, _argument: Any) -> None:
        """BUILD: attributes of a dictionary, such as torch's `_metadata`, say nothing about the tensors."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise UnreadablePickleError("contains an object with a state, which no tensor has.")

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
            # The hash of a deeply nested tuple would overflow the stack, and many long numbers can have the same hash.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 40):
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
        raise TypeError("no call")
    if function.text in _DICTIONARIES and arguments in ((), ([],)):
        return {}
    if function.text == _REBUILD_TENSOR:
        return _tensor(*arguments[:4])
    if function.text == _REBUILD_PARAMETER and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    raise ValueError("no tensor")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> StoredTensor:
    if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise TypeError("no tensor")
    if len(size) != len(stride) or len(size) > _MAX_DIMENSIONS or not all(map(_is_count, (offset, *size, *stride))):
        raise ValueError("no shape")
    return StoredTensor(storage.key, storage.type, offset, size, stride)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_STRINGS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING")

_PUSHED: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys((*_NUMBERS, *_STRINGS), lambda argument: argument),
    "MARK": lambda _: _MARK,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "GLOBAL": lambda argument: _name(*argument.split(" ", 1)),
}
"""Opcode -> the value that it puts on the stack, from its argument."""

_REPLACED: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "TUPLE1": (1, lambda *values: values),
    "TUPLE2": (2, lambda *values: values),
    "TUPLE3": (3, lambda *values: values),
    "STACK_GLOBAL": (2, _name),
    "BINPERSID": (1, _storage),
    "REDUCE": (2, _called),
}
"""Opcode -> how many values it takes from the stack, and what it puts there instead."""

_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.skip,
    "FRAME": _Machine.skip,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "TUPLE": _Machine.join,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_one,
    "SETITEMS": _Machine.set_many,
    "BUILD": _Machine.build,
}
"""The opcodes that do something else."""
