"""Each test that asks for `instruction_set` runs with every one that this processor has."""

from __future__ import annotations

import pytest

from uvr.separation.native.bindings import InstructionSet, KernelError, Library


@pytest.fixture(params=list(InstructionSet)[1:], ids=lambda choice: choice.name.lower())
def instruction_set(request: pytest.FixtureRequest, kernels: Library) -> InstructionSet:
    try:
        kernels.free(kernels.create(request.param, 1, (1, 1, 1)))
    except KernelError as error:
        pytest.skip(str(error))
    return InstructionSet(request.param)
