"""An engine on a network whose answer is known, and the instruction sets of this processor."""

from __future__ import annotations

import pytest

from tests.support.networks import PARAMETERS, write_network
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.native.bindings import InstructionSet, KernelError, Library


@pytest.fixture(scope="session")
def halving(tmp_path_factory: pytest.TempPathFactory) -> MdxEngine:
    """Half of the mixture is "vocals"."""
    return MdxEngine(write_network(tmp_path_factory.mktemp("model") / "half.onnx"), PARAMETERS, threads=1)


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
