"""Which instruction sets of the kernels this processor has, and which of them this process may use (NETWORK_ISA).

`amx` and `avx512_bf16` are AVX-512 with fast products of bfloat16 numbers. A processor has at most one of them here:
Intel's also have the instructions of avx512_bf16, which are slower there than those for float32.

The limit holds for a process and for the processes that it starts: it is kept in the environment, under the name of the
setting. Imports nothing heavy, because the processes that choose an engine load no network.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Literal, TypeAlias

from uvr.errors import PermanentError

InstructionSetChoice: TypeAlias = Literal["auto", "amx", "avx512_bf16", "avx512", "avx2", "neon", "baseline"]
"""`auto` is the widest one of this processor; `baseline` the one that all processors of its kind have."""

VARIABLE = "NETWORK_ISA"
_SETS = {
    1: ("baseline",),
    2: ("avx2", "baseline"),
    3: ("avx512", "avx2", "baseline"),
    4: ("neon", "baseline"),
    5: ("avx512_bf16", "avx512", "avx2", "baseline"),
    6: ("amx", "avx512", "avx2", "baseline"),
}
"""The sets of a processor by its widest one, as `enum tdfnet_isa` numbers them."""


def supported_by(best: int) -> list[str]:
    """The sets of a processor whose widest one has the number `best` in tdfnet.h, the widest first."""
    return [*_SETS[best]]


def supported_here() -> list[str]:
    """The sets of this processor, the widest first; [] without kernels here."""
    from uvr.separation.native.build import library_path  # only where it is needed

    with suppress(OSError, AttributeError):
        return supported_by(ctypes.CDLL(str(library_path())).tdfnet_best_isa())
    return []


def limit_to(choice: InstructionSetChoice) -> None:
    """Let the kernels of this process use no wider instruction set than `choice`, which must be one of this processor.

    Raises `PermanentError` if it is not.
    """
    require_supported(choice)
    os.environ[VARIABLE] = choice


def require_supported(choice: InstructionSetChoice) -> None:
    """Raise `PermanentError` if this processor lacks the instruction set. Without kernels here, all are accepted."""
    names = [] if choice == "auto" else supported_here()
    if names and choice not in names:
        raise PermanentError(
            f"NETWORK_ISA={choice}, but the kernels on this processor can use {' or '.join(names)} only: set it to one "
            "of them, or to auto."
        )


def widest_allowed(best: int) -> str:
    """The name of the widest set that this process may use on a processor whose widest one has the number `best`."""
    names = supported_by(best)
    limit = os.environ.get(VARIABLE, "auto").strip().lower()
    return limit if limit in names else names[0]
