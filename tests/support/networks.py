"""Networks with the MDX-Net interface, small enough to be made in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from uvr.separation.models import MdxParameters

PARAMETERS = MdxParameters(compensate=1.05, dim_f=1025, dim_t=32, n_fft=2048, primary_stem="Vocals")
"""All bins are kept, so that a network that changes nothing gives the mixture back (but for the lowest three bins)."""


def write_network(
    path: Path, *, factor: float = 0.5, bias: float = 0.0, parameters: MdxParameters = PARAMETERS
) -> Path:
    """An ONNX file that computes `factor` · spectrum + `bias`; its input is not called "input"."""
    shape = ["batch", 4, parameters.dim_f, parameters.dim_t]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["mixture_spectrum", "factor"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["stem_spectrum"]),
        ],
        "scaling",
        [helper.make_tensor_value_info("mixture_spectrum", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("stem_spectrum", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.array(factor, np.float32), "factor"),
            numpy_helper.from_array(np.array(bias, np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
