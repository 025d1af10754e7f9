"""The kernels of every ARM processor are NEON code: what a cross compiler makes of their inner loops."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from uvr.separation.native.build import FLAGS, SOURCES

TOOLS = COMPILER, DISASSEMBLER, SYMBOLS = [f"aarch64-linux-gnu-{tool}" for tool in ("gcc", "objdump", "nm")]
SCALAR_SUMS = {"fmadd", "fmsub", "fnmadd", "fnmsub"}

MDX_NET = {"convolution_job", "tdf_job", "up_job", "down_job"}
ROFORMER = {"linear_product", "score", "average"}
"""Functions of their own, which the jobs of RoFormers call."""

OUTSIDE = {"memcpy", "memset", "sqrtf", "filter_matrix", "clock_gettime"}
"""What the kernels call: none of it computes an exponential."""

Instructions = list[tuple[int, str, str]]
"""Address, name, operands."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(shutil.which, TOOLS)):
        pytest.skip("needs a compiler for ARM: gcc-aarch64-linux-gnu, which make test-neon installs")
    target = tmp_path_factory.mktemp("arm") / "kernels.o"
    warnings = ("-Wall", "-Wextra", "-Werror")
    subprocess.run([COMPILER, *FLAGS, *warnings, "-c", SOURCES / "kernels_baseline.c", "-o", target], check=True)
    return target


@pytest.fixture(scope="module")
def functions(compiled: Path) -> dict[str, Instructions]:
    command = [DISASSEMBLER, "--disassemble", "--no-show-raw-insn", compiled]
    functions: dict[str, Instructions] = {}
    name = ""
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if begin := re.fullmatch(r"[0-9a-f]+ <(.+)>:", line):
            name = begin[1]
            functions[name] = []
        elif found := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)", line):
            functions[name].append((int(found[1], 16), found[2], found[3]))
    return functions


def inner_loops(instructions: Instructions) -> list[Instructions]:
    """The loops that contain no other loop."""
    place = {address: i for i, (address, _, _) in enumerate(instructions)}
    loops = []
    for i, (address, name, operands) in enumerate(instructions):
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if target and (name.startswith("b.") or name in {"cbz", "cbnz", "tbz", "tbnz"}):
            begin = int(target[1], 16)
            if begin < address and begin in place:
                loops.append((place[begin], i))
    inner = [loop for loop in loops if not any(loop != o and loop[0] <= o[0] and o[1] <= loop[1] for o in loops)]
    return [instructions[begin : end + 1] for begin, end in inner]


def vector_sums(instructions: Instructions) -> int:
    """How many multiply and add four numbers."""
    return sum(name in {"fmla", "fmls"} and ".4s" in operands for _, name, operands in instructions)


def clones(functions: dict[str, Instructions], names: set[str]) -> dict[str, Instructions]:
    """The functions of these names, of which the compiler may have made several, as `score.constprop.0`."""
    found = {name: code for name, code in functions.items() if name.split(".")[0] in names}
    assert {name.split(".")[0] for name in found} == names
    return found


def is_scalar_sum(name: str, operands: str) -> bool:
    """In float32; the stopwatch adds up seconds in double precision."""
    return name in SCALAR_SUMS and operands.startswith("s")


def shifts_exponents(name: str, operands: str) -> bool:
    """Of four numbers, as each power does."""
    return name == "shl" and re.search(r"\.4s.*#23", operands) is not None


def test_products_are_computed_in_registers_of_four(functions: dict[str, Instructions]) -> None:
    """Every kernel that multiplies matrices has a loop that adds to a whole register tile, and no scalar product."""
    products = clones(functions, MDX_NET | ROFORMER)
    assert {name: max(map(vector_sums, inner_loops(code))) for name, code in products.items()} == {
        name: pytest.approx(24, abs=8) for name in products
    }
    jobs = {name: code for name, code in functions.items() if name != "pointwise_job"}
    scalar = {name for name, code in jobs.items() if any(is_scalar_sum(*each) for _, *each in code)}
    assert not scalar


def test_roformers_multiply_by_these_functions_only(functions: dict[str, Instructions]) -> None:
    """Each job calls its products, and has no register tile of its own."""
    for job, products in {
        "split_job": {"linear_product"},
        "transform_job": ROFORMER,
        "mask_job": {"linear_product"},
    }.items():
        called = [re.search(r"<(\w+)", operands) for _, name, operands in functions[job] if name == "bl"]
        assert {found[1] for found in called if found} & ROFORMER == products


def test_late_filters_are_transformed_in_vectors(functions: dict[str, Instructions]) -> None:
    """In double precision, two numbers at a time."""
    sums = [operands for _, name, operands in functions["filters_job"] if name in SCALAR_SUMS | {"fmla", "fmls"}]
    assert sums
    assert all(".2d" in operands for operands in sums)


def test_exponentials_are_computed_four_at_a_time(compiled: Path, functions: dict[str, Instructions]) -> None:
    """In the softmax, gates and tanh, a power shifts four exponents; GELU is a quotient. The C library is unused."""
    called = subprocess.run([SYMBOLS, "--undefined-only", compiled], capture_output=True, text=True, check=True).stdout
    assert set(called.replace("U", "").split()) <= OUTSIDE
    for name in ("transform_job", "mask_job"):
        loops = inner_loops(functions[name])
        assert any(shifts_exponents(*each) for loop in loops for _, *each in loop)
    for code in clones(functions, {"linear_product"}).values():  # which ends with GELU, tanh or the sigmoid
        assert any(shifts_exponents(*each) for _, *each in code)
        quotients = [operands for _, name, operands in code if name == "fdiv"]
        assert quotients
        assert all(".4s" in operands for operands in quotients)
