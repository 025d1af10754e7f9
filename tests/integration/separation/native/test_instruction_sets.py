"""NETWORK_ISA forces each path of this processor, for both engines, and the log says which one is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import structlog

from bench import standin
from tests.support.roformers import GEOMETRIES, write_model
from tests.support.tdf_networks import TINY, spectrum_for
from uvr.models.store import parameters_of
from uvr.separation.engine_factory import MdxEngineFactory, RoformerEngineFactory
from uvr.separation.instruction_sets import VARIABLE
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.native.bindings import InstructionSet, Library, load
from uvr.separation.native.graph_matcher import recognise
from uvr.separation.native.network import NativeNetwork
from uvr.separation.roformer.engine import RoformerEngine

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "auto")


@pytest.fixture(scope="module")
def mdx_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.ensure(tmp_path_factory.mktemp("mdx") / "small.onnx", TINY)


@pytest.fixture(scope="module")
def roformer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("roformer"), "small.ckpt", GEOMETRIES["mono"], ["vocals"])


def used(logs: list) -> list[str]:
    return [line["instruction_set"] for line in logs if line["event"] == "network.loaded"]


def test_mdx_net_runs_on_the_set_that_is_named(mdx_model: Path, instruction_set: InstructionSet) -> None:
    choice, parameters = instruction_set.name.lower(), parameters_of(mdx_model)
    with structlog.testing.capture_logs() as logs:
        engine = MdxEngineFactory(mdx_model, parameters, 1, backend="native", instruction_set=choice)()
    assert used(logs) == [instruction_set.name]
    assert isinstance(engine, MdxEngine)
    source = spectrum_for(TINY)
    forced = NativeNetwork(recognise(mdx_model.read_bytes()), threads=1, instruction_set=instruction_set)
    np.testing.assert_array_equal(engine._network.run(source), forced.run(source))


def test_roformers_run_on_the_set_that_is_named(roformer_model: Path, instruction_set: InstructionSet) -> None:
    choice = instruction_set.name.lower()
    factory = RoformerEngineFactory(roformer_model, roformer_model.with_suffix(".yaml"), 1, instruction_set=choice)
    with structlog.testing.capture_logs() as logs:
        engine = factory()
    assert used(logs) == [instruction_set.name]
    assert isinstance(engine, RoformerEngine)
    assert engine.instruction_set == instruction_set.name


def test_the_self_check_belongs_to_the_set_in_use(kernels: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is made for `Library.best`."""
    for instruction_set in kernels.instruction_sets:
        monkeypatch.setenv(VARIABLE, instruction_set.name.lower())
        assert load().best is instruction_set
    assert load().resolved(InstructionSet.BEST) is kernels.instruction_sets[-1]


def test_a_set_that_is_missing_here_ends_the_start_with_a_sentence(kernels: Library, tmp_path: Path) -> None:
    missing = "neon" if InstructionSet.NEON not in kernels.instruction_sets else "avx2"
    (tmp_path / "song.wav").write_bytes(b"")
    command = [sys.executable, "-m", "uvr", "separate", tmp_path / "song.wav", "-o", tmp_path / "stems"]
    variables = {"ENV_FILE": "", VARIABLE: missing, "MODEL_FILE_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode
    assert f"NETWORK_ISA={missing}, but the kernels on this processor can use" in done.stderr
    assert kernels.best.name.lower() in done.stderr
