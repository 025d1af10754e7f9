"""Small ConvTDFNets in all the ways in which exporters write them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import count

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bench import standin

TINY = standin.Geometry(bins=16, frames=8, growth=4, levels=2, convolutions=1, bottleneck=4)
"""The smallest network that has every kind of layer."""

Change = Callable[[onnx.GraphProto, np.random.Generator], None]


def tdf_network(geometry: standin.Geometry = TINY, *changes: Change, seed: int = 0) -> onnx.ModelProto:
    """A stand-in after `changes`, which alter how it is written and not what it computes."""
    model = standin.network(geometry, seed)
    for change in changes:
        change(model.graph, np.random.default_rng(seed))
    return model


def spectrum_for(geometry: standin.Geometry) -> NDArray[np.float32]:
    """Noise like that of an input."""
    shape = (4, geometry.bins, geometry.frames)
    return np.random.default_rng(1).standard_normal(shape, np.float32) * np.float32(3)


def with_norms_apart(graph: onnx.GraphProto, random: np.random.Generator) -> None:
    """Give every convolution before a ReLU a batch norm, and weights that compensate for it."""
    for node, after in _behind(graph, {"Conv", "ConvTranspose"}):
        if after.op_type == "Relu":
            channels = 1 if node.op_type == "ConvTranspose" else 0
            kernel, bias = values_of(graph, node.input[1]), values_of(graph, node.input[2])
            scale, variance = (random.uniform(0.5, 2, len(bias)).astype(np.float32) for _ in range(2))
            shift, mean = (random.standard_normal(len(bias), np.float32) for _ in range(2))
            factor = scale / np.sqrt(variance + 1e-3)
            axes = [axis for axis in range(4) if axis != channels]
            set_values(graph, node.input[1], kernel / np.expand_dims(factor, axes))
            set_values(graph, node.input[2], (bias - shift) / factor + mean)
            insert(graph, node, "BatchNormalization", scale, shift, mean, variance, epsilon=1e-3)


def with_biases(graph: onnx.GraphProto, random: np.random.Generator) -> None:
    """Give every fully connected layer a bias; a small one, since nothing compensates for it."""
    for node, _ in _behind(graph, {"MatMul"}):
        outputs = values_of(graph, node.input[1]).shape[1]
        insert(graph, node, "Add", 0.1 * random.standard_normal(outputs, np.float32))


def with_norms_folded(graph: onnx.GraphProto, _random: np.random.Generator) -> None:
    """Remove the batch norms behind fully connected layers, as in models trained without them."""
    for node in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        remove(graph, node)


def with_weights_from_nodes(graph: onnx.GraphProto, _random: np.random.Generator) -> None:
    """Let nodes transpose, forward or create the weights, as in an export without constant folding."""
    for number, node in enumerate([node for node in graph.node if node.op_type == "MatMul"]):
        values = values_of(graph, node.input[1])
        set_values(graph, node.input[1], np.ascontiguousarray(values.T))
        turned = helper.make_node("Transpose", [node.input[1]], [f"turned_{number}"], perm=[1, 0])
        handed_on = helper.make_node("Identity", [f"turned_{number}"], [f"handed_on_{number}"])
        node.input[1] = f"handed_on_{number}"
        place = list(graph.node).index(node)
        graph.node.insert(place, handed_on)
        graph.node.insert(place, turned)
    for node in [node for node in graph.node if node.op_type == "ConvTranspose"]:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == node.input[2])
        graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        graph.initializer.remove(tensor)


def with_numbers_as_floats(graph: onnx.GraphProto, _random: np.random.Generator) -> None:
    """Store the weights in the other form that ONNX allows, as lists of numbers."""
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values.ravel().tolist())


def insert(graph: onnx.GraphProto, node: onnx.NodeProto, operator: str, *weights: object, **attributes: object) -> None:
    """Insert a node between `node` and all that use its output; its further inputs are `weights`, arrays or names."""
    name = next(f"inserted_{number}" for number in count() if f"inserted_{number}" not in str(graph.node))
    names = []
    for number, values in enumerate(weights):
        names.append(values if isinstance(values, str) else f"{name}_weights_{number}")
        if not isinstance(values, str):
            graph.initializer.append(numpy_helper.from_array(np.asarray(values), names[-1]))
    for other in graph.node:
        for place, tensor in enumerate(other.input):
            if tensor == node.output[0]:
                other.input[place] = name
    made = helper.make_node(operator, [node.output[0], *names], [name], **attributes)
    if node.output[0] == graph.output[0].name:
        made.output[0], node.output[0], made.input[0] = node.output[0], name, name
    graph.node.insert(list(graph.node).index(node) + 1, made)


def remove(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Remove `node`: all that used its output use its first input instead."""
    for other in graph.node:
        for place, tensor in enumerate(other.input):
            if tensor == node.output[0]:
                other.input[place] = node.input[0]
    graph.node.remove(node)


def values_of(graph: onnx.GraphProto, name: str) -> NDArray[np.float32]:
    """The weights called `name`."""
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == name))


def set_values(graph: onnx.GraphProto, name: str, values: NDArray[np.generic]) -> None:
    """Replace the values of the weights called `name`."""
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model that can be changed."""
    return copy.deepcopy(model)


def _behind(graph: onnx.GraphProto, operators: set[str]) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Every node with one of `operators` and the node behind it, except for the last node."""
    nodes = list(graph.node)
    users = {name: node for node in reversed(nodes) for name in node.input}
    found = [node for node in nodes if node.op_type in operators]
    return [(node, users[node.output[0]]) for node in found if node.output[0] in users]
