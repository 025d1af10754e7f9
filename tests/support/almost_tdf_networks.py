"""Graphs that are almost a ConvTDFNet: whole networks with one change each that a careless matcher would miss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.tdf_networks import (
    TINY,
    insert,
    remove,
    set_values,
    tdf_network,
    values_of,
    with_biases,
    with_norms_apart,
)

Mutation = Callable[[onnx.ModelProto], None]
"""A change to a model, in place."""

TAMPERED_ATTRIBUTES = {
    "Conv": [
        {"strides": [2, 2]}, {"strides": [1, 2]}, {"strides": [2, 1]}, {"strides": [1, 1]}, {"pads": [0, 0, 0, 0]},
        {"pads": [1, 1, 1, 1]}, {"pads": [2, 0, 0, 2]}, {"pads": [0, 2, 2, 0]}, {"pads": [2, 2, 0, 0]},
        {"dilations": [2, 2]}, {"dilations": [1, 2]}, {"group": 2}, {"group": 4}, {"kernel_shape": [2, 2]},
        {"kernel_shape": [3, 1]}, {"kernel_shape": None}, {"pads": None}, {"strides": None},
        {"auto_pad": "SAME_UPPER", "pads": None}, {"auto_pad": "SAME_LOWER", "pads": None},
        {"auto_pad": "VALID", "pads": None}, {"auto_pad": "NOTSET"}, {"unheard_of": 1},
    ],
    "ConvTranspose": [
        {"strides": [1, 1]}, {"strides": [3, 3]}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 0, 1, 1]}, {"group": 2},
        {"dilations": [2, 2]}, {"output_padding": [1, 1]}, {"output_padding": [0, 0]}, {"output_shape": [4, 8]},
        {"output_shape": [8, 16]}, {"auto_pad": "SAME_UPPER", "pads": None}, {"kernel_shape": None}, {"pads": None},
    ],
    "BatchNormalization": [
        {"epsilon": 0.1}, {"epsilon": None}, {"epsilon": 0.0}, {"momentum": 0.1}, {"training_mode": 1}, {"spatial": 0},
    ],
    "Transpose": [
        {"perm": [0, 1, 2, 3]}, {"perm": [0, 2, 1, 3]}, {"perm": [0, 3, 2, 1]}, {"perm": [1, 0, 3, 2]}, {"perm": None},
    ],
    "Relu": [{"alpha": 0.1}],
    "MatMul": [{"transB": 1}],
    "Add": [{"axis": 1}],
    "Mul": [{"broadcast": 1}],
}  # fmt: skip


def nodes_of(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    """The first, the middle and the last with this operator."""
    found = [node for node in model.graph.node if node.op_type == operator]
    return list({id(node): node for node in (found[0], found[len(found) // 2], found[-1])}.values())


def mutations() -> Iterator[tuple[str, Mutation]]:
    model = tdf_network(TINY, with_norms_apart, with_biases)
    for operator in TAMPERED_ATTRIBUTES:
        for number, node in enumerate(nodes_of(model, operator)):
            yield from mutations_of(operator, number, len(node.input))
    for operator, weights in INSERTED:
        for number in range(0, len(model.graph.node), 3):
            name = f"{operator} {[values.shape for values in weights]} behind {number}"
            yield name, partial(insert_behind, number, operator, weights)
    for verb in (*REWIRED, *WHOLE_MODEL):
        yield verb.__name__, verb


def mutations_of(operator: str, number: int, inputs: int) -> Iterator[tuple[str, Mutation]]:
    for change in TAMPERED_ATTRIBUTES[operator]:
        yield f"{operator}[{number}] {change}", partial(tamper, operator, number, change)
    for verb in (replace_operator, leave_out, double, swap_inputs, take_other_domain, add_output, leave_unused):
        yield f"{operator}[{number}] {verb.__name__}", partial(verb, operator, number)
    for place, change_of in product(range(1, inputs), WEIGHT_CHANGES):
        name = f"{operator}[{number}].{place} {change_of.__name__}"
        yield name, partial(change_weights, operator, number, place, change_of)


def tamper(operator: str, number: int, change: dict[str, object], model: onnx.ModelProto) -> None:
    node = nodes_of(model, operator)[number]
    kept = [entry for entry in node.attribute if entry.name not in change]
    made = [helper.make_attribute(name, value) for name, value in change.items() if value is not None]
    del node.attribute[:]
    node.attribute.extend([*kept, *made])


def replace_operator(operator: str, number: int, model: onnx.ModelProto) -> None:
    others = {"Relu": "LeakyRelu", "Add": "Sub", "Mul": "Div", "MatMul": "Gemm", "Conv": "ConvTranspose"}
    nodes_of(model, operator)[number].op_type = others.get(operator, "Identity")


def leave_out(operator: str, number: int, model: onnx.ModelProto) -> None:
    remove(model.graph, nodes_of(model, operator)[number])


def double(operator: str, number: int, model: onnx.ModelProto) -> None:
    node = nodes_of(model, operator)[number]
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    insert(model.graph, node, operator, *node.input[1:], **attributes)


def swap_inputs(operator: str, number: int, model: onnx.ModelProto) -> None:
    node = nodes_of(model, operator)[number]
    node.input[:] = reversed(node.input)


def take_other_domain(operator: str, number: int, model: onnx.ModelProto) -> None:
    nodes_of(model, operator)[number].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def add_output(operator: str, number: int, model: onnx.ModelProto) -> None:
    nodes_of(model, operator)[number].output.append("more")


def leave_unused(operator: str, number: int, model: onnx.ModelProto) -> None:
    node = onnx.NodeProto()
    node.CopyFrom(nodes_of(model, operator)[number])
    node.output[0] = "unused"
    model.graph.node.append(node)


def in_double(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def in_half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16)


def with_nan(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed.flat[0] = np.nan
    return changed


def negative(values: np.ndarray) -> np.ndarray:
    return -values


def enormous(values: np.ndarray) -> np.ndarray:
    return values * np.float32(1e30)


def shorter(values: np.ndarray) -> np.ndarray:
    return values[:-1]


def upright(values: np.ndarray) -> np.ndarray:
    return values[..., None]


def with_an_axis_before(values: np.ndarray) -> np.ndarray:
    return values[None]


def turned(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.T)


def of_one_number(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1)[:1]


WEIGHT_CHANGES = [
    in_double, in_half, with_nan, negative, enormous, shorter, upright, with_an_axis_before, turned, of_one_number,
]  # fmt: skip


def change_weights(
    operator: str, number: int, place: int, change: Callable[[np.ndarray], np.ndarray], model: onnx.ModelProto
) -> None:
    name = nodes_of(model, operator)[number].input[place]
    if name in {tensor.name for tensor in model.graph.initializer}:
        set_values(model.graph, name, change(values_of(model.graph, name)))
    else:
        nodes_of(model, operator)[number].input[place] = "input"


INSERTED: list[tuple[str, list[np.ndarray]]] = [
    ("Relu", []), ("Neg", []), ("Abs", []), ("Identity", []), ("Sigmoid", []), ("Transpose", []),
    ("Mul", [np.array(0.5, np.float32)]), ("Add", [np.array(0.1, np.float32)]),
    ("Add", [np.full((4, 1, 1), 0.1, np.float32)]),
]  # fmt: skip


def insert_behind(number: int, operator: str, weights: list[np.ndarray], model: onnx.ModelProto) -> None:
    insert(model.graph, model.graph.node[number], operator, *weights)


def skips_crossed(model: onnx.ModelProto) -> None:
    first, second = (node for node in model.graph.node if node.op_type == "Mul")
    first.input[1], second.input[1] = second.input[1], first.input[1]


def skip_from_within_a_block(model: onnx.ModelProto) -> None:
    last = [node for node in model.graph.node if node.op_type == "Mul"][-1]
    block = next(node for node in model.graph.node if node.op_type == "Add" and node.output[0] == last.input[1])
    last.input[1] = block.input[0]


def skip_times_itself(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Mul")
    node.input[1] = node.input[0]


def block_without_its_input(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Add" and "weights" not in "".join(node.input))
    node.input[0] = node.input[1]


def block_added_to_an_earlier_tensor(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Add" and "weights" not in "".join(node.input))
    whole = next(other for other in model.graph.node if other.output[0] == node.input[0])
    node.input[0] = next(other for other in model.graph.node if other.output[0] == whole.input[0]).input[0]


def output_from_before_the_end(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-2].output[0]


def weights_turned_by_no_order(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "MatMul")
    model.graph.node.insert(0, helper.make_node("Transpose", [node.input[1]], ["turned"], perm=1))
    node.input[1] = "turned"


REWIRED: list[Mutation] = [
    weights_turned_by_no_order,
    skips_crossed, skip_from_within_a_block, skip_times_itself, block_without_its_input,
    block_added_to_an_earlier_tensor, output_from_before_the_end,
]  # fmt: skip


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info(model.graph.node[5].output[0], TensorProto.FLOAT, None))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def input_in_double(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def input_of_three_dimensions(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[0]


def input_of_unknown_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "frames"


def input_of_two_songs(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def input_that_cannot_be_halved(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 6


def weights_elsewhere(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="weights.bin"))


def weights_missing(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def weights_of_a_size_to_be_found_out(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def weights_with_one_name(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].name = model.graph.initializer[0].name


def tensors_with_one_name(model: onnx.ModelProto) -> None:
    model.graph.node[3].output[0] = model.graph.node[5].output[0]


def operators_of_long_ago(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 6


def no_operators_named(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def a_function_of_its_own(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], [], [helper.make_opsetid("", 13)]))


def sparse_weights(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))


WHOLE_MODEL: list[Mutation] = [
    second_output, second_input, input_in_double, input_of_three_dimensions, input_of_unknown_length,
    input_of_two_songs, input_that_cannot_be_halved, weights_elsewhere, weights_missing,
    weights_of_a_size_to_be_found_out, weights_with_one_name,
    tensors_with_one_name, operators_of_long_ago, no_operators_named, a_function_of_its_own, sparse_weights,
]  # fmt: skip
