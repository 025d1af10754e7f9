"""INFERENCE_PRECISION: which precision a RoFormer gets on which processor, and where bfloat16 is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from uvr.errors import PermanentError
from uvr.separation import engine_factory, instruction_sets, precision
from uvr.separation.engine_factory import RoformerEngineFactory, choose_engine
from uvr.separation.instruction_sets import InstructionSetChoice, supported_by
from uvr.separation.model_library import ModelLibrary
from uvr.separation.precision import PrecisionChoice, precision_of, require_precision, terms_to_try

AVX2, AVX512, AVX512_BF16, AMX = 2, 3, 5, 6
NEITHER_HERE = "the kernels can use neither here (`python -m uvr doctor` says why)"


@pytest.mark.parametrize(
    ("choice", "instruction_set", "terms"),
    [
        ("auto", "amx", (1, 3)),
        ("auto", "avx512_bf16", (1, 0)),
        ("auto", "avx512", (0,)),
        ("auto", "neon", (0,)),
        ("float32", "amx", (3,)),
        ("float32", "AMX", (3,)),
        ("float32", "avx512_bf16", (0,)),
        ("float32", "avx2", (0,)),
        ("bfloat16", "AMX", (1,)),
        ("bfloat16", "AVX512_BF16", (1,)),
    ],
)
def test_the_fastest_precision_that_is_allowed_is_tried_first(
    choice: PrecisionChoice, instruction_set: str, terms: tuple[int, ...]
) -> None:
    assert terms_to_try(choice, instruction_set) == terms


def test_three_terms_count_as_float32() -> None:
    assert [precision_of(terms) for terms in (0, 1, 3)] == ["float32", "bfloat16", "float32"]


def processor(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    monkeypatch.setattr(precision, "supported_here", lambda: supported_by(best))
    monkeypatch.setattr(instruction_sets, "supported_here", lambda: supported_by(best))


@pytest.mark.parametrize(
    ("best", "limit", "cause"),
    [
        (AVX2, "auto", NEITHER_HERE),
        (AVX512, "avx512", NEITHER_HERE),
        (AVX512_BF16, "avx512", "NETWORK_ISA=avx512 allows neither"),
        (AMX, "baseline", "NETWORK_ISA=baseline allows neither"),
    ],
)
def test_bfloat16_is_refused_where_there_are_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, best: int, limit: InstructionSetChoice, cause: str
) -> None:
    processor(monkeypatch, best)
    with pytest.raises(PermanentError) as refused:
        require_precision("bfloat16", limit)
    assert refused.value.message == (
        f"INFERENCE_PRECISION=bfloat16 needs amx or avx512_bf16, and {cause}: set it to auto or float32 "
        "(docs/devices.md)."
    )
    require_precision("auto", limit)
    require_precision("float32", limit)


@pytest.mark.parametrize(
    ("best", "limit"), [(AMX, "auto"), (AMX, "amx"), (AVX512_BF16, "auto"), (AVX512_BF16, "avx512_bf16")]
)
def test_bfloat16_is_accepted_where_there_are(
    monkeypatch: pytest.MonkeyPatch, best: int, limit: InstructionSetChoice
) -> None:
    processor(monkeypatch, best)
    require_precision("bfloat16", limit)


def test_bfloat16_is_refused_where_no_kernels_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "supported_here", list)
    with pytest.raises(PermanentError) as refused:
        require_precision("bfloat16", "auto")
    assert NEITHER_HERE in refused.value.message
    require_precision("auto", "auto")
    require_precision("float32", "auto")


def test_it_is_refused_before_a_model_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    processor(monkeypatch, AVX2)
    with pytest.raises(PermanentError, match="INFERENCE_PRECISION=bfloat16"):
        ModelLibrary(tmp_path, precision="bfloat16").default_engine("UVR-MDX-NET-Inst_HQ_4")


@pytest.mark.parametrize("choice", ["auto", "float32", "bfloat16"])
def test_a_roformer_is_made_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, choice: PrecisionChoice) -> None:
    processor(monkeypatch, AMX)
    monkeypatch.setattr(engine_factory, "kernels_are_built", lambda: True)
    (tmp_path / "own.ckpt").write_bytes(b"a checkpoint")
    (tmp_path / "own.yaml").write_text("model: {num_bands: 60}")
    for factory in (
        choose_engine("own.ckpt", tmp_path, precision=choice),
        ModelLibrary(tmp_path, precision=choice).engine_factory("own.ckpt"),
    ):
        assert isinstance(factory, RoformerEngineFactory)
        assert pickle.loads(pickle.dumps(factory)).precision == choice
