"""NETWORK_ISA: which instruction sets a processor has, and what happens if it lacks the one that is set."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from uvr.errors import PermanentError
from uvr.separation import engine_factory, instruction_sets
from uvr.separation.child_environment import child_environment
from uvr.separation.engine_factory import MdxEngineFactory, RoformerEngineFactory, choose_engine
from uvr.separation.instruction_sets import VARIABLE, limit_to, supported_by, widest_allowed
from uvr.separation.model_library import ModelLibrary
from uvr.separation.native import build
from uvr.separation.native.bindings import InstructionSet

BASELINE, AVX2, AVX512, NEON, AVX512_BF16, AMX = range(1, 7)


class Avx2Library:
    """A library on a processor that has AVX2 and nothing wider."""

    def __init__(self, _path: str) -> None:
        pass

    @staticmethod
    def tdfnet_best_isa() -> int:
        return AVX2


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "auto")


@pytest.fixture
def avx2_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruction_sets.ctypes, "CDLL", Avx2Library)


@pytest.mark.parametrize(
    ("best", "names"),
    [
        (AMX, ["amx", "avx512", "avx2", "baseline"]),
        (AVX512_BF16, ["avx512_bf16", "avx512", "avx2", "baseline"]),
        (AVX512, ["avx512", "avx2", "baseline"]),
        (AVX2, ["avx2", "baseline"]),
        (BASELINE, ["baseline"]),
        (NEON, ["neon", "baseline"]),
    ],
)
def test_a_processor_has_its_widest_set_and_the_narrower_ones(best: int, names: list[str]) -> None:
    assert supported_by(best) == names
    assert [InstructionSet[name.upper()].name.lower() for name in names] == names


@pytest.mark.parametrize(
    ("limit", "best", "used"),
    [
        ("auto", AMX, "amx"),
        ("avx512", AMX, "avx512"),
        ("avx512_bf16", AMX, "amx"),
        ("auto", AVX512_BF16, "avx512_bf16"),
        ("amx", AVX512_BF16, "avx512_bf16"),
        ("auto", AVX512, "avx512"),
        ("avx2", AVX512, "avx2"),
        (" AVX2 ", AVX512, "avx2"),
        ("baseline", AVX2, "baseline"),
        ("avx512", AVX2, "avx2"),
        ("neon", NEON, "neon"),
        ("baseline", NEON, "baseline"),
    ],
)
def test_the_limit_narrows_and_never_widens(monkeypatch: pytest.MonkeyPatch, limit: str, best: int, used: str) -> None:
    monkeypatch.setenv(VARIABLE, limit)
    assert widest_allowed(best) == used


@pytest.mark.usefixtures("avx2_processor")
@pytest.mark.parametrize("choice", ["amx", "avx512_bf16", "avx512", "neon"])
def test_a_set_that_this_processor_lacks_is_refused_by_name(choice: instruction_sets.InstructionSetChoice) -> None:
    with pytest.raises(PermanentError) as refused:
        limit_to(choice)
    assert refused.value.message == (
        f"NETWORK_ISA={choice}, but the kernels on this processor can use avx2 or baseline only: set it to one of "
        "them, or to auto."
    )
    assert os.environ[VARIABLE] == "auto"


@pytest.mark.usefixtures("avx2_processor")
def test_it_is_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="NETWORK_ISA=avx512"):
        ModelLibrary(tmp_path, instruction_set="avx512").default_engine("UVR-MDX-NET-Inst_HQ_4")


@pytest.mark.usefixtures("avx2_processor")
def test_the_limit_reaches_the_processes_that_this_one_starts() -> None:
    limit_to("baseline")
    assert child_environment()[VARIABLE] == "baseline"


def test_where_no_kernels_are_built_every_set_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "library_path", lambda: tmp_path / "missing.so")
    limit_to("neon")
    limit_to("avx512")


def test_both_engines_are_made_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "library_path", lambda: tmp_path / "missing.so")
    monkeypatch.setattr(engine_factory.store, "parameters_of", lambda _path: None)
    monkeypatch.setattr(engine_factory, "kernels_are_built", lambda: True)
    (tmp_path / "own.onnx").write_bytes(b"a network")
    (tmp_path / "own.ckpt").write_bytes(b"a checkpoint")
    (tmp_path / "own.yaml").write_text("model: {num_bands: 60}")
    for name, kind in (("own", MdxEngineFactory), ("own.ckpt", RoformerEngineFactory)):
        factory = choose_engine(name, tmp_path, instruction_set="avx2")
        assert isinstance(factory, kind)
        assert pickle.loads(pickle.dumps(factory)).instruction_set == "avx2"
