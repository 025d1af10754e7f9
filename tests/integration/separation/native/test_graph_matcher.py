"""Files that the kernels accept contain a ConvTDFNet, in any form that exporters write.

A graph that is almost one is either refused with `UnknownGraphError`, so ONNX Runtime runs it, or computed correctly.
"""

from __future__ import annotations

import random

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.external_data_helper import set_external_data

from bench.standin import Geometry
from tests.support.almost_tdf_networks import mutations
from tests.support.audio import snr_db
from tests.support.in_double import run_in_double
from tests.support.tdf_networks import (
    TINY,
    copied,
    set_values,
    spectrum_for,
    tdf_network,
    values_of,
    with_biases,
    with_norms_apart,
    with_norms_folded,
    with_numbers_as_floats,
    with_weights_from_nodes,
)
from uvr.separation.native.architecture import Architecture, Convolution, Down, Pointwise, Tdf, Up
from uvr.separation.native.graph_matcher import recognise
from uvr.separation.native.network import NativeNetwork
from uvr.separation.native.onnx_reader import UnknownGraphError

SPECTRUM = spectrum_for(TINY)

pytestmark = pytest.mark.usefixtures("kernels")


def native(architecture: Architecture) -> np.ndarray:
    return NativeNetwork(architecture, threads=1).run(SPECTRUM)


def by_onnxruntime(data: bytes) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: SPECTRUM[None]})[0][0]


# --- networks that are recognised -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (with_norms_apart,),
        (with_biases,),
        (with_norms_folded,),
        (with_weights_from_nodes,),
        (with_numbers_as_floats,),
        (with_norms_apart, with_biases, with_weights_from_nodes),
    ],
    ids=lambda changes: " ".join(change.__name__ for change in changes) or "as the benches have it",
)
def test_a_network_is_recognised_in_every_form_that_exporters_write(changes):
    model = tdf_network(TINY, *changes)
    estimate = native(recognise(model.SerializeToString()))
    assert snr_db(run_in_double(model, SPECTRUM), estimate) > 100


def test_layers_are_in_order_and_have_the_right_sizes():
    geometry = Geometry(bins=24, frames=16, growth=4, levels=2, convolutions=2, bottleneck=3)
    found = recognise(tdf_network(geometry).SerializeToString())
    block = [Convolution, Convolution, Tdf]
    kinds = [Pointwise, *block, Down, *block, Down, *block, Up, *block, Up, *block, Pointwise]
    assert [type(layer) for layer in found.layers] == kinds
    assert (found.channels, found.bins, found.frames, found.outputs) == (4, 24, 16, 4)
    first, last = found.layers[0], found.layers[-1]
    assert isinstance(first, Pointwise)
    assert isinstance(last, Pointwise)
    assert (first.relu, last.relu) == (True, False)
    assert [layer.narrow.weight.shape for layer in found.layers if isinstance(layer, Tdf)] == [
        (24, 8), (12, 4), (6, 2), (12, 4), (24, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("growth", [32, 48])
def test_the_sizes_of_uvrs_models_are_recognised(levels, growth):
    geometry = Geometry(bins=64, frames=32, growth=growth, levels=levels, convolutions=1, bottleneck=2)
    found = recognise(tdf_network(geometry).SerializeToString())
    assert sum(isinstance(layer, Tdf) for layer in found.layers) == 2 * levels + 1
    assert sum(isinstance(layer, Up) for layer in found.layers) == levels


def test_batch_norms_are_folded_in_double_precision():
    """If mean and bias are large and nearly equal, float32 would lose four digits."""
    model = tdf_network(TINY, with_norms_apart)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and node.input[3].startswith("inserted"):
            conv = next(other for other in model.graph.node if other.output[0] == node.input[0])
            for name in (node.input[3], conv.input[2]):
                set_values(model.graph, name, (values_of(model.graph, name) + 4096).astype(np.float32))
    estimate = native(recognise(model.SerializeToString()))
    assert snr_db(run_in_double(model, SPECTRUM), estimate) > 100


@pytest.mark.parametrize("batch", ["batch_size", "", 1])
def test_the_batch_may_have_a_name_or_be_one(batch):
    model = tdf_network()
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    dimension.Clear()
    if batch == 1:
        dimension.dim_value = 1
    elif batch:
        dimension.dim_param = batch
    assert recognise(model.SerializeToString()).frames == TINY.frames


def outcome(data: bytes) -> str:
    """The result for a file: refused, or the same sound. Fails if the kernels give a different sound."""
    try:
        architecture = recognise(data)
    except UnknownGraphError:
        return "refused"
    if (architecture.channels, architecture.bins, architecture.frames) != SPECTRUM.shape or architecture.outputs != 4:
        return "refused"  # later, by comparing with the model's parameters
    with np.errstate(all="ignore"):
        estimate, expected = native(architecture), by_onnxruntime(data)
        if not np.isfinite(expected).all() or np.abs(expected).max() > 1e18:
            return "no sound"
        assert snr_db(expected, estimate) > 60
    return "the same"


def test_graphs_that_are_almost_one_never_give_wrong_sound():
    model = tdf_network(TINY, with_norms_apart, with_biases)
    assert outcome(model.SerializeToString()) == "the same"
    outcomes: dict[str, str] = {}
    for name, mutation in mutations():
        changed = copied(model)
        mutation(changed)
        try:
            outcomes[name] = outcome(changed.SerializeToString())
        except Exception as error:
            error.add_note(f"the mutation was: {name}")
            raise
    assert len(outcomes) > 500
    counts = {kind: list(outcomes.values()).count(kind) for kind in set(outcomes.values())}
    assert counts["refused"] > 300
    assert counts["the same"] > 20


def refusal_of(model: onnx.ModelProto) -> str:
    with pytest.raises(UnknownGraphError) as refused:
        recognise(model.SerializeToString())
    return str(refused.value)


def test_weights_in_another_file_are_refused_even_if_the_file_exists(tmp_path, monkeypatch):
    model = tdf_network()
    tensor = model.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    monkeypatch.chdir(tmp_path)
    for directory in ("", f"{tmp_path}/"):
        changed = copied(model)
        set_external_data(changed.graph.initializer[0], f"{directory}weights.bin")
        changed.graph.initializer[0].ClearField("raw_data")
        assert "external_data" in refusal_of(changed)


def test_fields_that_are_not_supported_are_refused_wherever_they_are():
    def with_function(model):
        model.functions.add(name="f")

    def with_sparse_weights(model):
        model.graph.sparse_initializer.add()

    def with_overload(model):
        model.graph.node[0].overload = "other"

    def with_second_value(model):
        model.graph.node[0].attribute[0].floats.append(1.0)

    def with_segment(model):
        model.graph.initializer[0].segment.begin = 1

    for change in (with_function, with_sparse_weights, with_overload, with_second_value, with_segment):
        model = tdf_network()
        change(model)
        assert "not supported here" in refusal_of(model), change.__name__
    model = tdf_network()
    model.graph.node[0].MergeFromString(b"\xfa\x3f\x01x")  # field 1023, which no version of ONNX has yet
    assert "newer version" in refusal_of(model)


def test_names_that_are_not_utf_8_are_refused():
    data = tdf_network().SerializeToString()
    for name in (b"Conv_0", b"batch_size"):
        assert name in data
        with pytest.raises(UnknownGraphError, match="UTF-8"):
            recognise(data.replace(name, name[:-1] + b"\xff"))


@pytest.mark.parametrize("data", [b"", b"\x0a", bytes(1000), b"PK" * 100], ids=["empty", "cut", "zeros", "a zip file"])
def test_files_of_other_formats_are_refused(data):
    with pytest.raises(UnknownGraphError):
        recognise(data)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_never_give_wrong_sound(seed):
    """Bits flipped outside the weights, bytes missing, bytes too many."""
    data = tdf_network(TINY).SerializeToString()
    dice = random.Random(seed)
    outcomes = set()
    for _ in range(100):
        damaged = bytearray(data)
        place = dice.randrange(len(data))
        kind = dice.randrange(4)
        if kind == 0:
            damaged[place:] = b""
        elif kind == 1:
            damaged[place:place] = dice.randbytes(dice.randrange(1, 4))
        else:
            damaged[dice.randrange(4000)] ^= 1 << dice.randrange(8)  # the nodes come first
        try:
            outcomes.add(outcome(bytes(damaged)))
        except Exception as error:
            error.add_note(f"{kind=} {place=}")
            raise
    assert "refused" in outcomes
