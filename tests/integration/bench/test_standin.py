"""The benches' stand-in network: HQ_4's architecture, told by a small variant of it that ONNX Runtime really runs."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from bench import standin
from uvr.models.store import parameters_of
from uvr.separation.mdx.onnxruntime_network import OnnxRuntimeNetwork

SMALL = standin.Geometry(bins=640, frames=32, growth=4, levels=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return standin.ensure(tmp_path_factory.mktemp("standin") / "small.onnx", SMALL)


def shapes_of(path) -> tuple[onnx.GraphProto, dict[str, list[int]]]:
    """The graph, and the shape of every tensor in it for one segment."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    sizes = {info.name: [size.dim_value or 1 for size in info.type.tensor_type.shape.dim] for info in infos}
    return model.graph, sizes | {weights.name: list(weights.dims) for weights in model.graph.initializer}


def macs_of(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "MatMul":
        return int(np.prod(shapes[node.output[0]])) * shapes[node.input[1]][0]
    if node.op_type == "Conv":
        return int(np.prod(shapes[node.output[0]])) * int(np.prod(shapes[node.input[1]][1:]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(shapes[node.input[0]])) * int(np.prod(shapes[node.input[1]][1:]))
    return 0


def test_the_default_is_as_much_work_as_hq_4():
    assert round(standin.HQ_4.macs() / 1e9, 1) == 305.7


def test_the_work_is_counted_as_the_graph_does_it(path):
    graph, shapes = shapes_of(path)
    assert sum(macs_of(node, shapes) for node in graph.node) == SMALL.macs()


def test_layers_are_those_of_the_architecture(path):
    graph, _ = shapes_of(path)
    operators = [node.op_type for node in graph.node]
    blocks = 2 * SMALL.levels + 1
    assert operators.count("Conv") == 2 + 3 * blocks + SMALL.levels
    assert operators.count("ConvTranspose") == operators.count("Mul") == SMALL.levels
    assert operators.count("MatMul") == operators.count("BatchNormalization") == 2 * blocks
    assert operators.count("Add") == blocks


def test_engine_runs_it_with_the_parameters_beside_it(path):
    parameters = parameters_of(path)
    assert (parameters.dim_f, parameters.dim_t, parameters.primary_stem) == (640, 32, "Instrumental")
    spectrum = standin.spectrum(geometry=SMALL)
    estimate = OnnxRuntimeNetwork(path, parameters).run(spectrum)
    assert estimate.shape == spectrum.shape == (4, 640, 32)
    assert np.isfinite(estimate).all()


def test_output_is_as_loud_as_the_input(path):
    spectrum = standin.spectrum(3.0, SMALL)
    estimate = OnnxRuntimeNetwork(path, parameters_of(path)).run(spectrum)
    assert estimate.std() == pytest.approx(spectrum.std(), rel=0.5)


def test_same_seed_gives_the_same_network(tmp_path, path):
    again = standin.ensure(tmp_path / "again.onnx", SMALL)
    assert again.read_bytes() == path.read_bytes()
    description = json.loads(again.with_name("again.onnx.json").read_text())
    assert description["mdx_n_fft_scale_set"] == 1280
