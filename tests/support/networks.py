"""Networks with the MDX-Net interface, small enough to be written by a test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from uvr.models.catalogue import MdxParameters

PARAMETERS = MdxParameters(compensate=1.05, dim_f=1025, dim_t=32, n_fft=2048, primary_stem="Vocals")
"""All bins are kept, so that a network that changes nothing returns the mixture (except for its lowest three bins)."""

HQ_4 = MdxParameters(compensate=1.019, dim_f=2560, dim_t=256, n_fft=5120, primary_stem="Instrumental")
"""The geometry of UVR-MDX-NET-Inst_HQ_4."""


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


def uvr_entry(parameters: MdxParameters) -> dict[str, object]:
    """The parameters in the format of UVR's model data."""
    return {
        "compensate": parameters.compensate,
        "mdx_dim_f_set": parameters.dim_f,
        "mdx_dim_t_set": parameters.dim_t.bit_length() - 1,
        "mdx_n_fft_scale_set": parameters.n_fft,
        "primary_stem": parameters.primary_stem,
    }


def write_model(path: Path, *, parameters: MdxParameters = PARAMETERS, **options: float) -> Path:
    """`write_network` with a file of its parameters, as a user's own model needs it in MODEL_FILE_DIR."""
    path.with_name(f"{path.name}.json").write_text(json.dumps(uvr_entry(parameters)), encoding="utf-8")
    return write_network(path, parameters=parameters, **options)
