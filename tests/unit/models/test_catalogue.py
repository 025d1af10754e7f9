"""The catalogue finds models by any of their names; the hash of a file gives its parameters."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from uvr.errors import PermanentError
from uvr.models import catalogue, store
from uvr.models.files import TAIL_BYTES, tail_md5

HQ_4 = "UVR-MDX-NET-Inst_HQ_4"
OWN_ENTRY = {
    "compensate": 1.02,
    "mdx_dim_f_set": 2048,
    "mdx_dim_t_set": 8,
    "mdx_n_fft_scale_set": 5120,
    "primary_stem": "Vocals",
}


def test_default_model_has_the_parameters_that_uvr_publishes() -> None:
    model = catalogue.find_model(HQ_4)
    assert model.parameters == store.MdxParameters(
        compensate=1.019, dim_f=2560, dim_t=256, n_fft=5120, primary_stem="Instrumental", hop_length=1024
    )
    assert model.places["github"].endswith("/all_public_uvr_models/UVR-MDX-NET-Inst_HQ_4.onnx")


@pytest.mark.parametrize(
    "spelling",
    [HQ_4, f"{HQ_4}.onnx", "UVR-MDX-NET Inst HQ 4", "MDX-Net Model: UVR-MDX-NET Inst HQ 4", "uvr_mdx_net_inst_hq_4"],
)
def test_model_is_found_by_name_file_and_title(spelling: str) -> None:
    assert catalogue.find_model(spelling).name == HQ_4


def test_no_two_models_share_a_spelling() -> None:
    spellings = Counter(
        spelling
        for model in catalogue.CATALOGUE.values()
        for spelling in {catalogue.spelling(model.name), catalogue.spelling(model.title)}
    )
    assert [spelling for spelling, count in spellings.items() if count > 1] == []


def test_unknown_name_suggests_close_names() -> None:
    with pytest.raises(PermanentError, match=f"Did you mean {HQ_4}"):
        catalogue.find_model("UVR-MDX-NET-Inst_HQ_44")


def test_part_of_a_name_suggests_the_names_that_contain_it() -> None:
    with pytest.raises(PermanentError, match=f"Did you mean {HQ_4}"):
        catalogue.find_model("hq_4")


def test_name_without_close_names_suggests_the_list() -> None:
    with pytest.raises(PermanentError, match=r"download_models\.py --list"):
        catalogue.find_model("qqq")


def test_every_hash_of_the_catalogue_has_parameters() -> None:
    hashed = [model for model in catalogue.CATALOGUE.values() if model.tail_md5]
    assert len(hashed) >= 25
    assert all(model.parameters == catalogue.PARAMETERS[model.tail_md5] for model in hashed)


def test_catalogue_contains_all_that_uvr_publishes_about_mdx_net(shared_data: Path) -> None:
    published = json.loads((shared_data / "uvr" / "mdx_model_data.json").read_text())
    lists = json.loads((shared_data / "uvr" / "download_checks.json").read_text())
    files = {*lists["mdx_download_list"].values(), *lists["mdx_download_vip_list"].values()}
    assert files <= {model.file for model in catalogue.CATALOGUE.values()}
    for tail, entry in published.items():
        if "mdx_n_fft_scale_set" in entry:
            known = catalogue.PARAMETERS[tail]
            assert (known.compensate, known.dim_f) == (entry["compensate"], entry["mdx_dim_f_set"])
            assert (known.dim_t, known.n_fft) == (2 ** entry["mdx_dim_t_set"], entry["mdx_n_fft_scale_set"])
            assert known.primary_stem == entry["primary_stem"]


def test_hash_is_of_the_whole_file_when_it_is_small(tmp_path: Path) -> None:
    file = tmp_path / "small.onnx"
    file.write_bytes(b"abc")
    assert tail_md5(file) == hashlib.md5(b"abc").hexdigest()


def test_hash_is_of_the_tail_when_the_file_is_large(tmp_path: Path) -> None:
    tail = bytes(TAIL_BYTES - 1) + b"!"
    file = tmp_path / "large.onnx"
    file.write_bytes(b"head" + tail)
    assert tail_md5(file) == hashlib.md5(tail).hexdigest()


def test_unknown_file_is_refused_with_its_hash_and_advice(tmp_path: Path) -> None:
    file = tmp_path / "own.onnx"
    file.write_bytes(b"abc")
    with pytest.raises(PermanentError, match=r"900150983cd24fb0d6963f7d28e17f72.*own\.onnx\.json") as raised:
        store.parameters_of(file)
    assert str(tmp_path) not in raised.value.message


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"no model file own\.onnx"):
        store.parameters_of(tmp_path / "own.onnx")


def test_description_next_to_a_custom_model_gives_its_parameters(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(b"abc")
    (tmp_path / "own.onnx.json").write_text(json.dumps(OWN_ENTRY))
    expected = store.MdxParameters(compensate=1.02, dim_f=2048, dim_t=256, n_fft=5120, primary_stem="Vocals")
    assert store.parameters_of(tmp_path / "own.onnx") == expected
    assert store.ensure_model_file("own", tmp_path) == tmp_path / "own.onnx"
    assert store.ensure_model_file(str(tmp_path / "own.onnx"), tmp_path / "elsewhere") == tmp_path / "own.onnx"


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps(OWN_ENTRY | {"compensate": "much"})])
def test_invalid_description_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.onnx").write_bytes(b"abc")
    (tmp_path / "own.onnx.json").write_text(text)
    with pytest.raises(PermanentError, match=r"own\.onnx\.json does not describe a model"):
        store.parameters_of(tmp_path / "own.onnx")


def test_file_under_the_name_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{HQ_4}.onnx").write_bytes(b"abc")
    monkeypatch.setitem(
        catalogue.PARAMETERS, hashlib.md5(b"abc").hexdigest(), store.MdxParameters(1.0, 2048, 256, 4096, "Vocals")
    )
    with pytest.raises(PermanentError, match="not the model that its name says"):
        store.ensure_model_file(HQ_4, tmp_path)


def test_the_error_of_a_download_survives_the_way_from_a_child_process() -> None:
    error = catalogue.ModelUnavailableError(catalogue.find_model(HQ_4), "the host is down")
    received = pickle.loads(pickle.dumps(error))
    assert (type(received), received.message) == (catalogue.ModelUnavailableError, error.message)
