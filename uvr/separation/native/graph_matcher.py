"""Whether a model file is a ConvTDFNet, and which one: its layers in order, with the weights that each needs.

ConvTDFNet (Kim et al., "KUIELab-MDX-Net", 2021) is what UVR calls MDX-Net: a U-Net over the bins and frames of a
spectrogram, whose blocks are TFC-TDF (Choi et al., 2020).

    1x1 convolution → ⇄ → [block → halved]ⁿ → block → [doubled · skip → block]ⁿ → ⇄ → 1x1 convolution
    block: 3x3 convolutions (TFC), then two fully connected layers over the bins (TDF), added to their input

⇄ lets bins and frames change places. Each layer ends in a batch norm, folded into the weights by the export or here in
float64, and a ReLU. Every node of the graph and every one of its attributes must have its place in this picture:
otherwise `UnknownGraphError` says what has none, because a network that is nearly right makes sound that is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from uvr.separation.native import onnx_reader
from uvr.separation.native.architecture import (
    Architecture,
    Convolution,
    Down,
    Layer,
    Linear,
    Pointwise,
    Tdf,
    Up,
    Weights,
)
from uvr.separation.native.onnx_reader import Array, Graph, Node, UnknownGraphError, Value

Floats: TypeAlias = NDArray[np.floating]
"""Weights as the file has them, in float32, or on their way through a batch norm, in float64."""


def recognise(data: bytes) -> Architecture:
    """The ConvTDFNet in the ONNX file `data`. Raises `UnknownGraphError` when it holds anything else."""
    return _Walk(onnx_reader.read(data)).architecture()


_MIN_OPSET = 9
"""Before it, BatchNormalization had other attributes, and other meanings of them."""

_DEFAULTS: dict[str, dict[str, Value]] = {
    "Add": {},
    "BatchNormalization": {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0},
    "Conv": {"auto_pad": b"NOTSET", "dilations": [1, 1], "group": 1, "pads": [0] * 4, "strides": [1, 1]},
    "ConvTranspose": {
        "auto_pad": b"NOTSET", "dilations": [1, 1], "group": 1, "output_padding": [0, 0], "pads": [0] * 4,
        "strides": [1, 1],
    },
    "MatMul": {},
    "Mul": {},
    "Relu": {},
    "Transpose": {},
}  # fmt: skip
"""What an attribute is where the file does not say, after ONNX's documentation of each operator."""


class _Walk:
    """A walk through a graph, from its input to its output; `_at` is the tensor it has reached."""

    def __init__(self, graph: Graph) -> None:
        self._constants, self._nodes = _with_constants_known(graph)
        self._output = graph.output
        self._at = graph.input
        self._users = _users(self._nodes, self._constants)
        self._taken = 0
        self._skips: list[tuple[str, int]] = []
        _require(graph.opset >= _MIN_OPSET, f"its operators are of version {graph.opset}")
        _require_names_of_their_own(graph)
        sizes = graph.shape[1:]
        batch = graph.shape[0] if graph.shape else 0
        _require(len(sizes) == 3 and (batch == 1 or isinstance(batch, str)), f"its input is {graph.shape}")
        self._channels, self._bins, self._frames = (_size(size) for size in sizes)

    def architecture(self) -> Architecture:
        sizes = self._channels, self._bins, self._frames
        layers: list[Layer] = [self._pointwise()]
        self._turn()
        while self._operators() != ["Transpose"]:
            layers.append(self._layer())
        self._turn()
        layers.append(self._pointwise())
        _require(self._at == self._output and not self._operators(), "something comes behind its last convolution")
        _require(not self._skips, "a skip is open at its end")
        _require(self._taken == len(self._nodes), f"{len(self._nodes) - self._taken} of its nodes lead nowhere")
        return Architecture(*sizes, tuple(layers))

    def _layer(self) -> Layer:
        operators = self._operators()
        if operators == ["Conv"]:
            return Convolution(*self._convolution(size=3, stride=1))
        if operators == ["Add", "MatMul"]:
            return self._tdf()
        if operators == ["Conv", "Mul"]:
            return self._down()
        if operators == ["ConvTranspose"]:
            return self._up()
        raise UnknownGraphError(f"{self._at} goes into {' and '.join(operators) or 'nothing'}")

    def _pointwise(self) -> Pointwise:
        weight, bias = self._normalised(*self._kernel("Conv", size=1, stride=1), axis=0)
        relu = self._operators() == ["Relu"]
        if relu:
            self._take("Relu")
        return Pointwise(_rounded(weight[:, :, 0, 0]), _rounded(bias), relu)

    def _convolution(self, *, size: int, stride: int) -> tuple[Weights, Weights]:
        weight, bias = self._normalised(*self._kernel("Conv", size=size, stride=stride), axis=0)
        self._take("Relu")
        return _rounded(weight), _rounded(bias)

    def _down(self) -> Down:
        _require(self._bins % 2 == self._frames % 2 == 0, f"it halves {self._bins} bins and {self._frames} frames")
        self._skips.append((self._at, self._channels))
        down = Down(*self._convolution(size=2, stride=2))
        self._bins, self._frames = self._bins // 2, self._frames // 2
        return down

    def _up(self) -> Up:
        weight, bias = self._normalised(*self._kernel("ConvTranspose", size=2, stride=2), axis=1)
        self._take("Relu")
        _require(bool(self._skips), "it doubles more often than it halves")
        skip, channels = self._skips.pop()
        _require(channels == self._channels, f"a skip of {channels} channels meets {self._channels}")
        self._take("Mul", skip)
        self._bins, self._frames = self._bins * 2, self._frames * 2
        return Up(_rounded(weight), _rounded(bias))

    def _tdf(self) -> Tdf:
        whole = self._at
        narrow = self._linear(self._bins)
        wide = self._linear(narrow.weight.shape[1])
        _require(wide.weight.shape[1] == self._bins, "a TDF block does not give as many bins as it takes")
        self._take("Add", whole)
        return Tdf(narrow, wide)

    def _linear(self, inputs: int) -> Linear:
        node = self._take("MatMul")
        weight = self._weights(node, 1, rank=2)
        _require(weight.shape[0] == inputs, f"a fully connected layer takes {weight.shape[0]} bins of {inputs}")
        bias = self._linear_bias(weight.shape[1])
        scale, shift = self._batch_norm()
        self._take("Relu")
        return Linear(_rounded(weight), None if bias is None else _rounded(bias), _rounded(scale), _rounded(shift))

    def _linear_bias(self, outputs: int) -> Floats | None:
        if self._operators() != ["Add"]:
            return None
        node = self._take("Add", constant=True)
        bias = self._weights(node, 0 if node.inputs[0] in self._constants else 1)
        # Of another shape it would be spread over other axes than the last.
        _require(bias.shape[-1:] == (outputs,) and bias.size == outputs and bias.ndim <= 4, "a bias has another shape")
        return bias.ravel()

    def _kernel(self, operator: str, *, size: int, stride: int) -> tuple[Floats, Floats]:
        """Weights and bias of a convolution with square kernels; the channels become its outputs'."""
        node = self._take(operator)
        pads = [size // 2] * 4 if stride == 1 else [0] * 4
        _require_attributes(node, kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads)
        weight = self._weights(node, 1, rank=4)
        inputs, outputs = weight.shape[:2] if operator == "ConvTranspose" else weight.shape[1::-1]
        _require(weight.shape[2:] == (size, size), f"a kernel is {weight.shape[2:]}, and not {size}x{size}")
        _require(inputs == self._channels, f"a convolution takes {inputs} of {self._channels} channels")
        self._channels = outputs
        bias = self._weights(node, 2, rank=1) if node.inputs[2:] else np.zeros(outputs, np.float32)
        _require(bias.shape == (outputs,), f"{bias.size} biases for {outputs} channels")
        return weight, bias

    def _normalised(self, weight: Floats, bias: Floats, *, axis: int) -> tuple[Floats, Floats]:
        """Both with the batch norm behind them folded in, if there is one; `axis` is that of the outputs."""
        if self._operators() != ["BatchNormalization"]:
            return weight, bias
        scale, shift = self._batch_norm()
        return weight * np.expand_dims(scale, [other for other in range(4) if other != axis]), bias * scale + shift

    def _batch_norm(self) -> tuple[Floats, Floats]:
        """Scale and shift of the batch norm that comes next, 1 and 0 where none does."""
        if self._operators() != ["BatchNormalization"]:
            return np.ones(self._channels, np.float32), np.zeros(self._channels, np.float32)
        node = self._take("BatchNormalization")
        scale, shift, mean, variance = (self._weights(node, number, rank=1) for number in range(1, 5))
        _require({len(scale), len(shift), len(mean), len(variance)} == {self._channels}, "a batch norm is too short")
        epsilon = _require_attributes(node, "epsilon", "momentum")["epsilon"]
        assert isinstance(epsilon, float)
        _require(bool((variance + epsilon > 0).all()), "a variance is negative")
        exact = scale / np.sqrt(variance.astype(np.float64) + epsilon)
        return exact, shift - mean * exact

    def _turn(self) -> None:
        _require_attributes(self._take("Transpose"), perm=[0, 1, 3, 2])

    def _operators(self) -> list[str]:
        """What the tensor that is reached goes into."""
        return sorted(node.operator for node in self._users[self._at])

    def _take(self, operator: str, partner: str = "", *, constant: bool = False) -> Node:
        """Go through the node with this operator, whose second tensor is `partner`, a constant, or none."""
        found = [node for node in self._users[self._at] if node.operator == operator]
        _require(len(found) == 1, f"{self._at} goes into {' and '.join(self._operators()) or 'nothing'}")
        node = found[0]
        if partner or constant:
            others = [name for name in node.inputs if name != self._at]
            fits = len(node.inputs) == 2 and len(others) == 1
            _require(fits and (others[0] == partner or (constant and others[0] in self._constants)), f"odd {operator}")
        else:
            _require(node.inputs[0] == self._at, f"the inputs of a {operator} have changed places")
        _require_whole(node)
        self._taken += 1
        self._at = node.outputs[0]
        return node

    def _weights(self, node: Node, number: int, rank: int | None = None) -> Floats:
        values = self._constants.get(node.inputs[number])
        _require(values is not None and values.dtype == np.float32, f"weights of a {node.operator} are not float32")
        assert values is not None
        _require(rank in (None, values.ndim), f"weights of a {node.operator} have {values.ndim} dimensions")
        return values


def _with_constants_known(graph: Graph) -> tuple[dict[str, Array], list[Node]]:
    """All constants, also those that nodes make of nothing or of other constants, and the nodes that do not."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        value = _constant(node, constants)
        if value is None:
            nodes.append(node)
        else:
            constants[node.outputs[0]] = value
    return constants, nodes


def _constant(node: Node, constants: dict[str, Array]) -> Array | None:
    if len(node.outputs) != 1:
        return None
    if node.operator == "Constant":
        value = node.attributes.get("value")
        return value if isinstance(value, np.ndarray) and len(node.attributes) == 1 and not node.inputs else None
    if len(node.inputs) != 1 or node.inputs[0] not in constants:
        return None
    source = constants[node.inputs[0]]
    if node.operator == "Identity" and not node.attributes:
        return source
    if node.operator == "Transpose" and node.attributes.keys() <= {"perm"}:
        order = node.attributes.get("perm", list(reversed(range(source.ndim))))
        is_order = isinstance(order, list) and sorted(order) == list(range(source.ndim))
        return source.transpose(order) if is_order else None  # type: ignore[arg-type]
    return None


def _users(nodes: list[Node], constants: dict[str, Array]) -> defaultdict[str, list[Node]]:
    """The nodes that a tensor goes into, as often as it does."""
    users: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            if name not in constants:
                users[name].append(node)
    return users


def _require_names_of_their_own(graph: Graph) -> None:
    names = [graph.input, *graph.constants, *(name for node in graph.nodes for name in node.outputs)]
    _require(len(set(names)) == len(names) and "" not in names, "two of its tensors have one name")


def _require_whole(node: Node) -> None:
    counts = {"Relu": {1}, "Transpose": {1}, "BatchNormalization": {5}, "Conv": {2, 3}, "ConvTranspose": {2, 3}}
    _require(len(node.inputs) in counts.get(node.operator, {2}), f"{node.operator} has {len(node.inputs)} inputs")
    _require(len(node.outputs) == 1, f"{node.operator} has {len(node.outputs)} outputs")
    if node.operator in ("Add", "MatMul", "Mul", "Relu"):
        _require_attributes(node)


def _require_attributes(node: Node, *free: str, **expected: Value) -> dict[str, Value]:
    """Those of `node`, which must be as `expected`, or else ONNX's defaults; the `free` ones may be anything."""
    defaults = _DEFAULTS[node.operator]
    for name, value in node.attributes.items():
        _require(name in defaults or name in expected, f"{node.operator} has the attribute {name}")
        wanted = expected.get(name, defaults.get(name))
        fits = type(value) is type(wanted) and (name in free or value == wanted)
        _require(fits, f"{node.operator} has {name} {value!r}")
    for name, wanted in expected.items():
        absent_is_fine = name == "kernel_shape" or defaults.get(name) == wanted
        _require(name in node.attributes or absent_is_fine, f"{node.operator} without {name}")
    return {**defaults, **node.attributes}


def _size(size: int | str) -> int:
    _require(isinstance(size, int) and size > 0, f"a dimension of its input is {size!r}")
    assert isinstance(size, int)
    return size


def _rounded(values: Floats) -> Weights:
    with np.errstate(over="ignore"):
        rounded = np.require(values, np.float32, ["C", "ALIGNED"])  # what stands in a file may begin anywhere
    _require(bool(np.isfinite(rounded).all()), "weights are not finite")
    return rounded


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise UnknownGraphError(otherwise)
