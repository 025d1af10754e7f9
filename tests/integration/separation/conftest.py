"""An engine on a network whose answer is known, a model to check, and the instruction sets of this processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import standin
from tests.support.checked_models import GEOMETRY
from tests.support.networks import PARAMETERS, write_network
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.native.bindings import InstructionSet, KernelError, Library


@pytest.fixture(scope="session")
def halving(tmp_path_factory: pytest.TempPathFactory) -> MdxEngine:
    """Half of the mixture is "vocals"."""
    return MdxEngine(write_network(tmp_path_factory.mktemp("model") / "half.onnx"), PARAMETERS, threads=1)


@pytest.fixture(scope="session")
def standin_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.ensure(tmp_path_factory.mktemp("standin") / "small.onnx", GEOMETRY)


@pytest.fixture
def unchecked_model(standin_model: Path, tmp_path: Path) -> Path:
    """A ConvTDFNet without a self-check record."""
    for path in (standin_model, standin_model.with_name("small.onnx.json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / standin_model.name


@pytest.fixture(params=list(InstructionSet)[1:], ids=lambda choice: choice.name.lower())
def instruction_set(request: pytest.FixtureRequest, kernels: Library) -> InstructionSet:
    """Each that this processor has."""
    if request.param == InstructionSet.BASELINE and kernels.best == InstructionSet.NEON:
        pytest.skip("the baseline of this processor is NEON")
    try:
        kernels.free(kernels.create(request.param, 1, (1, 1, 1)))
    except KernelError as error:
        pytest.skip(str(error))
    return InstructionSet(request.param)
