"""Matches an ONNX file against ConvTDFNet, and extracts its layers in order, each with its weights.

ConvTDFNet (Kim et al., "KUIELab-MDX-Net", 2021) is the architecture that UVR calls MDX-Net: a U-Net over the bins and
frames of a spectrogram, whose blocks are TFC-TDF (Choi et al., 2020).

    1x1 convolution → ⇄ → [block → halved]ⁿ → block → [doubled · skip → block]ⁿ → ⇄ → 1x1 convolution
    block: 3x3 convolutions (TFC), then two fully connected layers over the bins (TDF), added to their input

⇄ transposes bins and frames. Each layer ends with a batch norm and a ReLU. The batch norm is folded into the weights,
by the export or here in float64. Every node of the graph and every attribute must match this description. Otherwise
`UnknownGraphError` names the part that does not: a network that is almost a ConvTDFNet would give wrong sound.
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
"""Weights in float32, as in the file, or in float64 while a batch norm is folded into them."""


def recognise(data: bytes) -> Architecture:
    """The ConvTDFNet in the ONNX file `data`. Raises `UnknownGraphError` if it contains anything else."""
    return _Walk(onnx_reader.read(data)).architecture()


_MIN_OPSET = 9
"""In older versions BatchNormalization has other attributes with other meanings."""

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
"""Operator -> default values of its attributes, from ONNX's documentation of the operators."""

_ARITIES = {"Relu": {1}, "Transpose": {1}, "BatchNormalization": {5}, "Conv": {2, 3}, "ConvTranspose": {2, 3}}
"""Operator -> the numbers of inputs that it may have; all others have two."""
_WITHOUT_ATTRIBUTES = ("Add", "MatMul", "Mul", "Relu")


class _Walk:
    """Walks through a graph from its input to its output; `_at` is the tensor that it has reached."""

    def __init__(self, graph: Graph) -> None:
        self._constants = dict(graph.constants)
        self._nodes: list[Node] = []
        for node in graph.nodes:
            value = _constant_value(node, self._constants)
            if value is None:
                self._nodes.append(node)
            else:
                self._constants[node.outputs[0]] = value
        self._output = graph.output
        self._at = graph.input
        self._users = _users(self._nodes, self._constants)
        self._taken = 0
        self._skips: list[tuple[str, int]] = []
        _require(graph.opset >= _MIN_OPSET, f"its operators are of version {graph.opset}")
        names = [graph.input, *graph.constants, *(name for node in graph.nodes for name in node.outputs)]
        _require(len(set(names)) == len(names) and "" not in names, "two of its tensors have the same name")
        # The batch must be 1 or of any size.
        sizes = [size for size in graph.shape[1:] if isinstance(size, int) and size > 0]
        has_batch = len(graph.shape) == 4 and (graph.shape[0] == 1 or isinstance(graph.shape[0], str))
        _require(has_batch and len(sizes) == 3, f"its input has the shape {graph.shape}")
        self._channels, self._bins, self._frames = sizes

    def architecture(self) -> Architecture:
        sizes = self._channels, self._bins, self._frames
        layers: list[Layer] = [self._pointwise()]
        self._transpose()
        while (operators := self._operators()) != ["Transpose"]:
            match operators:
                case ["Conv"]:
                    layers.append(Convolution(*self._convolution(size=3, stride=1)))
                case ["Add", "MatMul"]:
                    layers.append(self._tdf())
                case ["Conv", "Mul"]:
                    layers.append(self._down())
                case ["ConvTranspose"]:
                    layers.append(self._up())
                case _:
                    raise UnknownGraphError(f"{self._at} goes into {' and '.join(operators) or 'nothing'}")
        self._transpose()
        layers.append(self._pointwise())
        _require(self._at == self._output and not self._operators(), "its last convolution is not its output")
        _require(not self._skips, "it halves more often than it doubles")
        _require(self._taken == len(self._nodes), f"{len(self._nodes) - self._taken} of its nodes are not used")
        return Architecture(*sizes, tuple(layers))

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
        _require(wide.weight.shape[1] == self._bins, "a TDF block has different numbers of input and output bins")
        self._take("Add", whole)
        return Tdf(narrow, wide)

    def _linear(self, inputs: int) -> Linear:
        node = self._take("MatMul")
        weight = self._weights(node, 1, rank=2)
        _require(weight.shape[0] == inputs, f"a fully connected layer takes {weight.shape[0]} bins of {inputs}")
        bias, outputs = None, weight.shape[1]
        if self._operators() == ["Add"]:
            add = self._take("Add", constant=True)
            values = self._weights(add, 0 if add.inputs[0] in self._constants else 1)
            # With any other shape ONNX would broadcast it along other axes than the last.
            is_bias = values.shape[-1:] == (outputs,) and values.size == outputs and values.ndim <= 4
            _require(is_bias, f"a bias has the shape {values.shape}")
            bias = _rounded(values.ravel())
        scale, shift = self._batch_norm()
        self._take("Relu")
        return Linear(_rounded(weight), bias, _rounded(scale), _rounded(shift))

    def _kernel(self, operator: str, *, size: int, stride: int) -> tuple[Floats, Floats]:
        """Weights and bias of the next node, a convolution with square kernels. Sets the number of channels."""
        node = self._take(operator)
        pads = [size // 2] * 4 if stride == 1 else [0] * 4
        _require_attributes(node, kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads)
        weight = self._weights(node, 1, rank=4)
        inputs, outputs = weight.shape[:2] if operator == "ConvTranspose" else weight.shape[1::-1]
        _require(weight.shape[2:] == (size, size), f"a kernel is {weight.shape[2:]} instead of {size}x{size}")
        _require(inputs == self._channels, f"a convolution takes {inputs} of {self._channels} channels")
        self._channels = outputs
        bias = self._weights(node, 2, rank=1) if node.inputs[2:] else np.zeros(outputs, np.float32)
        _require(bias.shape == (outputs,), f"{bias.size} biases for {outputs} channels")
        return weight, bias

    def _normalised(self, weight: Floats, bias: Floats, *, axis: int) -> tuple[Floats, Floats]:
        """`weight` and `bias` with the next batch norm, if any, folded in. `axis` of `weight` is the outputs."""
        if self._operators() != ["BatchNormalization"]:
            return weight, bias
        scale, shift = self._batch_norm()
        return weight * np.expand_dims(scale, [other for other in range(4) if other != axis]), bias * scale + shift

    def _batch_norm(self) -> tuple[Floats, Floats]:
        """Scale and shift of the next batch norm; 1 and 0 if there is none."""
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

    def _transpose(self) -> None:
        _require_attributes(self._take("Transpose"), perm=[0, 1, 3, 2])

    def _operators(self) -> list[str]:
        """The operators that use the current tensor, sorted."""
        return sorted(node.operator for node in self._users[self._at])

    def _take(self, operator: str, partner: str = "", *, constant: bool = False) -> Node:
        """Advance through the node with this operator. Its other input must be `partner`, or a constant."""
        found = [node for node in self._users[self._at] if node.operator == operator]
        _require(len(found) == 1, f"{self._at} goes into {' and '.join(self._operators()) or 'nothing'}")
        node = found[0]
        if partner or constant:
            others = [name for name in node.inputs if name != self._at]
            fits = len(node.inputs) == 2 and len(others) == 1
            fits = fits and (others[0] == partner or (constant and others[0] in self._constants))
            _require(fits, f"{operator} has unexpected inputs")
        else:
            _require(node.inputs[0] == self._at, f"{operator} has its inputs in another order")
        arities = _ARITIES.get(node.operator, {2})
        _require(len(node.inputs) in arities, f"{operator} has {len(node.inputs)} inputs")
        _require(len(node.outputs) == 1, f"{operator} has {len(node.outputs)} outputs")
        if operator in _WITHOUT_ATTRIBUTES:
            _require_attributes(node)
        self._taken += 1
        self._at = node.outputs[0]
        return node

    def _weights(self, node: Node, number: int, rank: int | None = None) -> Floats:
        values = self._constants.get(node.inputs[number])
        _require(values is not None and values.dtype == np.float32, f"weights of a {node.operator} are not float32")
        assert values is not None
        _require(rank in (None, values.ndim), f"weights of a {node.operator} have {values.ndim} dimensions")
        return values


def _constant_value(node: Node, constants: dict[str, Array]) -> Array | None:
    """The value of a node that is a constant, or that is computed from a constant; None for all others."""
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
    """Tensor -> the nodes that use it; a node that uses it twice is listed twice."""
    users: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            if name not in constants:
                users[name].append(node)
    return users


def _require_attributes(node: Node, *free: str, **expected: Value) -> dict[str, Value]:
    """The attributes of `node` with defaults. All must be `expected` or the defaults; `free` ones can be anything."""
    defaults = _DEFAULTS[node.operator]
    for name, value in node.attributes.items():
        _require(name in defaults or name in expected, f"{node.operator} has the attribute {name}")
        required = expected.get(name, defaults.get(name))
        fits = type(value) is type(required) and (name in free or value == required)
        _require(fits, f"{node.operator} has {name} {value!r}")
    for name, required in expected.items():
        may_be_absent = name == "kernel_shape" or defaults.get(name) == required
        _require(name in node.attributes or may_be_absent, f"{node.operator} without {name}")
    return {**defaults, **node.attributes}


def _rounded(values: Floats) -> Weights:
    with np.errstate(over="ignore"):
        rounded = np.require(values, np.float32, ["C", "ALIGNED"])  # arrays in a file may be unaligned
    _require(bool(np.isfinite(rounded).all()), "weights are not finite")
    return rounded


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise UnknownGraphError(otherwise)
