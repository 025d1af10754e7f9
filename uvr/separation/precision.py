"""In which precision RoFormers are computed (INFERENCE_PRECISION), and how many bfloat16 products make one product.

    terms 0    none: float32 instructions
    terms 3    high x high + high x low + low x high: 108 dB in a plain product, which counts as float32
    terms 1    high x high: 54 dB in a plain product, which counts as bfloat16

`high` is a number rounded to bfloat16, `low` the rest, rounded to bfloat16 as well. MDX-Net is always computed in
float32, on AMX in six terms (`native.network`). Imports nothing heavy.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from uvr.errors import PermanentError
from uvr.separation.instruction_sets import InstructionSetChoice, supported_here

PrecisionChoice: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""`auto` is bfloat16 where this processor computes it faster and the model's self-check allows it, else float32."""
Precision: TypeAlias = Literal["float32", "bfloat16"]

TERMS = (0, 1, 3)
BFLOAT16_TERMS = 1
_THREE_TERMS = 3
_SETS_WITH_BFLOAT16 = ("amx", "avx512_bf16")


def precision_of(terms: int) -> Precision:
    """What a network of so many terms computes in."""
    return "bfloat16" if terms == BFLOAT16_TERMS else "float32"


def float32_terms(instruction_set: str) -> int:
    """The terms of a RoFormer in float32 on an instruction set: three where they should take less time than float32."""
    return _THREE_TERMS if instruction_set.lower() == "amx" else 0


def terms_to_try(choice: PrecisionChoice, instruction_set: str) -> tuple[int, ...]:
    """The terms for a RoFormer on an instruction set: the fastest, and those to take if its self-check refuses them."""
    if choice == "bfloat16":
        return (BFLOAT16_TERMS,)
    exact = float32_terms(instruction_set)
    return (BFLOAT16_TERMS, exact) if choice == "auto" and has_bfloat16(instruction_set) else (exact,)


def has_bfloat16(instruction_set: str) -> bool:
    """Whether an instruction set computes bfloat16 faster than float32."""
    return instruction_set.lower() in _SETS_WITH_BFLOAT16


def require_precision(choice: PrecisionChoice, limit: InstructionSetChoice) -> None:
    """Raise `PermanentError` if `choice` demands bfloat16 and the kernels have no instructions for it here.

    So it does if there are no kernels. `limit` is NETWORK_ISA, which this processor supports.
    """
    if choice != "bfloat16":
        return
    names = supported_here()
    if names and has_bfloat16(names[0] if limit == "auto" else limit):
        return
    is_limited = any(has_bfloat16(name) for name in names)
    neither = "the kernels can use neither here (`python -m uvr doctor` says why)"
    cause = f"NETWORK_ISA={limit} allows neither" if is_limited else neither
    raise PermanentError(
        f"INFERENCE_PRECISION=bfloat16 needs {' or '.join(_SETS_WITH_BFLOAT16)}, and {cause}: set it to auto or "
        "float32 (docs/devices.md)."
    )
