"""ConvTDFNets in float64, node by node as ONNX documents its operators: the reference for the kernels.

It knows nothing of what the kernels make of a graph: neither folded batch norms nor layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Exact = NDArray[np.float64]


def run_in_double(model: onnx.ModelProto, spectrum: NDArray[np.float32]) -> Exact:
    """The output for one spectrum (channels, bins, frames); operators that ConvTDFNets lack raise `KeyError`."""
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    values[graph.input[0].name] = spectrum[None].astype(np.float64)
    for node in graph.node:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        values[node.output[0]] = _OPERATORS[node.op_type](*(values[name] for name in node.input), **attributes)
    return values[graph.output[0].name][0]


def _conv(x: Exact, kernel: Exact, bias: Exact | float = 0.0, **attributes: Any) -> Exact:
    (top, left, bottom, right), (down, across) = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::down, ::across]
    return np.einsum("bihwyx,oiyx->bohw", windows, kernel, optimize=True) + np.reshape(bias, (-1, 1, 1))


def _conv_transpose(x: Exact, kernel: Exact, bias: Exact | float = 0.0, **_attributes: Any) -> Exact:
    """Of kernels as large as the stride, so that they do not overlap."""
    spread = np.einsum("bihw,ioyx->bohywx", x, kernel, optimize=True)
    batch, outputs, rows, high, columns, wide = spread.shape
    return spread.reshape(batch, outputs, rows * high, columns * wide) + np.reshape(bias, (-1, 1, 1))


def _batch_norm(x: Exact, *statistics: Exact, epsilon: float = 1e-5, **_attributes: Any) -> Exact:
    scale, shift, mean, variance = (values[:, None, None] for values in statistics)
    return scale * (x - mean) / np.sqrt(variance + epsilon) + shift


_OPERATORS: dict[str, Any] = {
    "Add": np.add,
    "BatchNormalization": _batch_norm,
    "Constant": lambda value: numpy_helper.to_array(value).astype(np.float64),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Identity": lambda x: x,
    "MatMul": np.matmul,
    "Mul": np.multiply,
    "Relu": lambda x: np.maximum(x, 0),
    "Transpose": lambda x, perm: x.transpose(perm),
}
