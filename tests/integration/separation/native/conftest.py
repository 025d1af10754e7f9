"""How ConvTDFNets can be computed on this processor."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from uvr.separation.native.bindings import InstructionSet, KernelError, Library
from uvr.separation.native.network import SIX_TERMS


class Arithmetic(NamedTuple):
    """How products are computed: `terms` is 0 in float32, 6 with three bfloat16 parts of each number."""

    instruction_set: InstructionSet
    terms: int


_SETS = InstructionSet
IN_FLOAT32 = [Arithmetic(each, 0) for each in (_SETS.BASELINE, _SETS.NEON, _SETS.AVX2, _SETS.AVX512)]
IN_BFLOAT16 = [Arithmetic(each, SIX_TERMS) for each in (_SETS.BASELINE, _SETS.NEON, _SETS.AVX512_BF16, _SETS.AMX)]
"""The other instruction sets compute with the kernels of one of these."""


def name_of(arithmetic: Arithmetic) -> str:
    return f"{arithmetic.instruction_set.name.lower()}-{arithmetic.terms}"


@pytest.fixture(params=[*IN_FLOAT32, *IN_BFLOAT16], ids=name_of)
def arithmetic(request: pytest.FixtureRequest, kernels: Library) -> Arithmetic:
    """Each that this processor has."""
    arithmetic: Arithmetic = request.param
    if arithmetic.instruction_set == InstructionSet.BASELINE and kernels.best == InstructionSet.NEON:
        pytest.skip("the baseline of this processor is NEON")
    try:
        kernels.free(kernels.create(arithmetic.instruction_set, 1, (1, 1, 1), arithmetic.terms))
    except KernelError as error:
        pytest.skip(str(error))
    return arithmetic
