"""What an ONNX file says, as far as MDX-Net models use the format; all else is refused, never guessed.

The `onnx` package would do, but importing it takes 0.4 s, which is most of what a start on the kernels takes, and it
copies every weight twice. Field numbers are those of onnx.proto (onnx.ai), the wire format is protobuf's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Value: TypeAlias = int | float | bytes | list[int] | Array
"""Of an attribute."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Fields: TypeAlias = dict[int, list[Any]]
"""The values of one message by field number: numbers as int, all else as memoryview."""

_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}
_FLOAT = 1
_DEFAULT_DOMAINS = ("", "ai.onnx")


class UnknownGraphError(Exception):
    """A file that the kernels cannot run; the message says what they do not know about it."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class Graph:
    """A network: its operations, its weights by name, and its one input and output."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    input: str
    shape: tuple[int | str, ...]
    """Of the input; a name, or "", stands for a dimension of any size."""
    output: str
    opset: int


def read(data: bytes) -> Graph:
    """The graph in the ONNX file `data`, whose weights are views of it. Raises `UnknownGraphError`."""
    try:
        model = _message(memoryview(data), used={7, 8}, ignored={1, 2, 3, 4, 5, 6, 14})
        return _graph(_only(model, 7, "graph"), _opset(model))
    except (ValueError, IndexError, TypeError) as error:
        raise UnknownGraphError(f"it is not a whole ONNX file ({error})") from error


def _opset(model: _Fields) -> int:
    imports = [_message(entry, used={1, 2}) for entry in model.get(8, [])]
    versions = [_number(entry, 2) for entry in imports if _text(entry, 1) in _DEFAULT_DOMAINS]
    if len(versions) != 1:
        raise UnknownGraphError("it does not say which version of ONNX's operators it uses")
    return versions[0]


def _graph(data: memoryview, opset: int) -> Graph:
    fields = _message(data, used={1, 5, 11, 12}, ignored={2, 10, 13, 16})
    constants = dict(_tensor(tensor) for tensor in fields.get(5, []))
    inputs = [entry for entry in map(_value_info, fields.get(11, [])) if entry[0] not in constants]
    outputs = [_value_info(entry) for entry in fields.get(12, [])]
    if len(constants) != len(fields.get(5, [])) or len(inputs) != 1 or len(outputs) != 1:
        raise UnknownGraphError("it has not one input and one output")
    nodes = tuple(_node(node) for node in fields.get(1, []))
    return Graph(nodes, constants, *inputs[0], outputs[0][0], opset)


def _node(data: memoryview) -> Node:
    fields = _message(data, used={1, 2, 4, 5, 7}, ignored={3, 6, 9})
    operator = _text(fields, 4)
    if _text(fields, 7) not in _DEFAULT_DOMAINS:
        raise UnknownGraphError(f"{operator} is not an operator of ONNX itself")
    attributes = dict(_attribute(attribute) for attribute in fields.get(5, []))
    inputs, outputs = (tuple(str(name, "utf-8") for name in fields.get(number, [])) for number in (1, 2))
    return Node(operator, inputs, outputs, attributes)


def _attribute(data: memoryview) -> tuple[str, Value]:
    fields = _message(data, used={1, 2, 3, 4, 5, 8, 20}, ignored={13})
    name, kind = _text(fields, 1), _number(fields, 20)
    if kind == 1:
        return name, float(np.frombuffer(_only(fields, 2, name), "<f4")[0])
    if kind == 2:
        return name, _number(fields, 3)
    if kind == 3:
        return name, bytes(_only(fields, 4, name))
    if kind == 4:
        return name, _tensor(_only(fields, 5, name))[1]
    if kind == 7:
        return name, _integers(fields.get(8, []))
    raise UnknownGraphError(f"the attribute {name} is of an unknown kind")


def _tensor(data: memoryview) -> tuple[str, Array]:
    fields = _message(data, used={1, 2, 4, 7, 8, 9, 14}, ignored={12, 16})
    name, kind = _text(fields, 8), _number(fields, 2)
    if kind not in _DTYPES or _number(fields, 14):
        raise UnknownGraphError(f"the weights {name} are not float32, or not in the file itself")
    shape = _integers(fields.get(1, []))
    if any(size < 0 for size in shape):  # numpy would find out what it may mean
        raise UnknownGraphError(f"the weights {name} have a negative size")
    values: Array
    if 9 in fields:
        values = np.frombuffer(_only(fields, 9, name), _DTYPES[kind])
    elif kind == _FLOAT:
        values = np.frombuffer(b"".join(fields.get(4, [])), "<f4")
    else:
        values = np.array(_integers(fields.get(7, [])), np.int64)
    return name, values.reshape(shape)


def _value_info(data: memoryview) -> tuple[str, tuple[int | str, ...]]:
    """Name and shape of a float32 input or output."""
    fields = _message(data, used={1, 2}, ignored={3, 4})
    name = _text(fields, 1)
    tensor = _message(_only(_message(_only(fields, 2, name), used={1}, ignored={6}), 1, name), used={1, 2})
    if _number(tensor, 1) != _FLOAT:
        raise UnknownGraphError(f"{name} is not float32")
    shape = _message(_only(tensor, 2, f"shape of {name}"), used={1})
    return name, tuple(_dimension(dimension) for dimension in shape.get(1, []))


def _dimension(data: memoryview) -> int | str:
    fields = _message(data, used={1, 2}, ignored={3})
    return _number(fields, 1) if 1 in fields else _text(fields, 2)


def _message(data: memoryview, *, used: Set[int], ignored: Set[int] = frozenset()) -> _Fields:
    """The fields of one message; one that is neither `used` nor `ignored` may change what the others mean."""
    fields: _Fields = {}
    for number, value in _fields(data):
        if number in used:
            fields.setdefault(number, []).append(value)
        elif number not in ignored:
            raise UnknownGraphError(f"it uses a part of the format that is not known here (field {number})")
    return fields


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > len(data):
            raise ValueError("it ends too early")
        yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number of up to ten bytes, seven bits in each, and where the next one begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number without an end")


def _integers(values: list[Any]) -> list[int]:
    """A repeated field of numbers, packed into one value or not."""
    found = []
    for value in values:
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        position = 0
        while position < len(value):
            number, position = _varint(value, position)
            found.append(_signed(number))
    return found


def _signed(value: int) -> int:
    value &= (1 << 64) - 1  # ten bytes hold more bits than a number has
    return value - (1 << 64) if value >> 63 else value


def _number(fields: _Fields, number: int) -> int:
    return _signed(fields[number][-1]) if number in fields else 0


def _text(fields: _Fields, number: int) -> str:
    return str(fields[number][-1], "utf-8") if number in fields else ""


def _only(fields: _Fields, number: int, name: str) -> memoryview:
    values = fields.get(number, [])
    if len(values) != 1 or isinstance(values[0], int):
        raise ValueError(f"no {name}, or more than one")
    found: memoryview = values[0]
    return found
