"""Reads the network in an ONNX file, as far as MDX-Net models use the format; refuses everything else.

The `onnx` package parses the bytes, and only those: no other file is opened, so weights outside the file are refused.
A field of the format that is not listed here could change the meaning of the others, so it is refused, too.
docs/decisions/0019-onnx-reader.md says why this is not a parser of our own any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

Array: TypeAlias = NDArray[Any]
Value: TypeAlias = int | float | bytes | list[int] | Array
"""The value of an attribute."""

_DTYPES: dict[int, np.dtype[Any]] = {TensorProto.FLOAT: np.dtype("<f4"), TensorProto.INT64: np.dtype("<i8")}
_VALUE_FIELDS = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.INTS: "ints",
}
"""Type of an attribute -> the field that holds its value."""
_DEFAULT_DOMAINS = ("", "ai.onnx")


class UnknownGraphError(Exception):
    """The kernels cannot run the network in a file; the message says which part of it they do not support."""


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
    """The shape of the input. A string is the name, or "", of a dimension of any size."""
    output: str
    opset: int


def read(data: bytes) -> Graph:
    """The graph in the ONNX file `data`. Raises `UnknownGraphError`."""
    try:
        model = ModelProto.FromString(data)
        fields = _fields(
            model,
            used={"graph", "opset_import"},
            ignored={"ir_version", "producer_name", "producer_version", "domain", "model_version"},
        )
        imports = [_fields(entry, used={"domain", "version"}) for entry in fields.get("opset_import", [])]
        versions = [entry.get("version", 0) for entry in imports if entry.get("domain", "") in _DEFAULT_DOMAINS]
        if len(versions) != 1:
            raise UnknownGraphError("it does not say which version of ONNX's operators it uses")
        graph = model.graph
        _fields(graph, used={"node", "initializer", "input", "output"}, ignored={"name", "value_info"})
        constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
        inputs = [(entry.name, _shape(entry)) for entry in graph.input if entry.name not in constants]
        outputs = [(entry.name, _shape(entry)) for entry in graph.output]
        nodes = tuple(map(_node, graph.node))
    except (DecodeError, ValueError, TypeError) as error:
        raise UnknownGraphError(f"it is not a valid ONNX file ({error})") from error
    if len(constants) != len(graph.initializer) or len(inputs) != 1 or len(outputs) != 1:
        raise UnknownGraphError("it does not have exactly one input and one output")
    return Graph(nodes, constants, *inputs[0], outputs[0][0], versions[0])


def _node(node: NodeProto) -> Node:
    _fields(node, used={"input", "output", "op_type", "attribute", "domain"}, ignored={"name"})
    if node.domain not in _DEFAULT_DOMAINS:
        raise UnknownGraphError(f"{node.op_type} is not one of ONNX's own operators")
    attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _value(attribute: AttributeProto) -> Value:
    fields = _fields(attribute, used={"name", "type", *_VALUE_FIELDS.values()})
    if attribute.type not in _VALUE_FIELDS:
        raise UnknownGraphError(f"the attribute {attribute.name} is of an unsupported type")
    name = _VALUE_FIELDS[attribute.type]
    if name not in fields and name != "ints":
        raise UnknownGraphError(f"the attribute {attribute.name} has no value")
    value = getattr(attribute, name)
    if isinstance(value, TensorProto):
        return _array(value)
    return list(value) if name == "ints" else value


def _array(tensor: TensorProto) -> Array:
    fields = _fields(
        tensor, used={"dims", "data_type", "float_data", "int64_data", "name", "raw_data", "data_location"}
    )
    if tensor.data_type not in _DTYPES or tensor.data_location != TensorProto.DEFAULT:
        raise UnknownGraphError(f"the weights {tensor.name} are not float32, or not in the file itself")
    if any(size < 0 for size in tensor.dims):  # numpy would compute the size that fits
        raise UnknownGraphError(f"the weights {tensor.name} have a negative size")
    dtype = _DTYPES[tensor.data_type]
    if "raw_data" in fields:
        return np.frombuffer(fields["raw_data"], dtype).reshape(tensor.dims)
    numbers = tensor.float_data if tensor.data_type == TensorProto.FLOAT else tensor.int64_data
    return np.array(numbers, dtype).reshape(tensor.dims)


def _shape(entry: ValueInfoProto) -> tuple[int | str, ...]:
    """The shape of a float32 input or output; dimensions of any size by their names."""
    tensor = entry.type.tensor_type
    _fields(entry, used={"name", "type"})
    _fields(entry.type, used={"tensor_type"}, ignored={"denotation"})
    _fields(tensor, used={"elem_type", "shape"})
    _fields(tensor.shape, used={"dim"})
    if tensor.elem_type != TensorProto.FLOAT or not tensor.HasField("shape"):
        raise UnknownGraphError(f"{entry.name} is not a float32 tensor with a shape")
    sizes = [_fields(size, used={"dim_value", "dim_param"}, ignored={"denotation"}) for size in tensor.shape.dim]
    return tuple(size.get("dim_value", size.get("dim_param", "")) for size in sizes)


def _fields(message: Message, *, used: Set[str], ignored: Set[str] = frozenset()) -> dict[str, Any]:
    """The fields that `message` has, by name. Refuses a message with any field that is neither `used` nor `ignored`."""
    fields = {}
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            texts = [value] if isinstance(value, str | bytes) else value
            if any(isinstance(text, bytes) for text in texts):  # as protobuf returns what is not UTF-8
                raise UnknownGraphError(f"its field {field.name} is not UTF-8")
        fields[field.name] = value
    unknown = fields.keys() - used - ignored - {"doc_string", "metadata_props"}
    if unknown or len(UnknownFieldSet(message)):
        name = ", ".join(sorted(unknown)) or "a field of a newer version"
        raise UnknownGraphError(f"it uses a part of the ONNX format that is not supported here ({name})")
    return fields
