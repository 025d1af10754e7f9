"""The spellings of MODEL_NAME: a name, a file name or a path, with any suffix or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ROOT, Settings
from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import multi_file_model_name
from uvr.models.catalogue import CATALOGUE, catalogue_name, find_model, known_model
from uvr.net.model_sources import ModelSources
from uvr.separation.engine_factory import engine_of, model_file

KIM = CATALOGUE["Kim_Vocal_2"]


@pytest.fixture(autouse=True)
def every_file_is_kim_vocal_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real file has 67 MB and is not available in tests."""
    monkeypatch.setattr(store, "tail_md5", lambda _path: KIM.tail_md5)
    monkeypatch.setattr(store, "sha256", lambda _path: KIM.sha256)


@pytest.mark.parametrize("file", ["Kim_Vocal_2.onnx", "Kim_Vocal_2.ONNX", "Kim_Vocal_2.Onnx"])
@pytest.mark.parametrize("suffix", ["", ".onnx", ".ONNX"])
def test_a_file_is_found_by_name_and_by_path_with_any_suffix(tmp_path: Path, file: str, suffix: str) -> None:
    (tmp_path / file).write_bytes(b"x")
    assert store.ensure_model_file(f"Kim_Vocal_2{suffix}", tmp_path) == tmp_path / file
    assert store.ensure_model_file(f"{tmp_path}/Kim_Vocal_2{suffix}", tmp_path / "elsewhere") == tmp_path / file


def test_a_file_with_an_upper_case_suffix_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "Kim_Vocal_2.ONNX").write_bytes(b"x")
    assert store.ensure_model_file("kim vocal 2", tmp_path) == tmp_path / "Kim_Vocal_2.ONNX"
    store.verify_model_file("Kim_Vocal_2", tmp_path)


def test_a_path_to_a_file_that_is_not_the_model_of_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Kim_Vocal_1.onnx").write_bytes(b"x")
    with pytest.raises(PermanentError, match=r"Kim_Vocal_1\.onnx is not the model that its name says"):
        store.ensure_model_file(f"{tmp_path}/Kim_Vocal_1.onnx", tmp_path)


def test_a_custom_model_may_have_an_upper_case_suffix(tmp_path: Path) -> None:
    (tmp_path / "own.ONNX").write_bytes(b"x")
    assert store.ensure_model_file("own", tmp_path) == tmp_path / "own.ONNX"


def test_a_path_without_a_file_is_refused_and_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"There is no file Kim_Vocal_2\.onnx at this path") as raised:
        store.ensure_model_file(
            f"{tmp_path}/no/Kim_Vocal_2.onnx", tmp_path, sources=ModelSources(("http://127.0.0.1:9",))
        )
    assert str(tmp_path) not in raised.value.message


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("htdemucs_ft", "htdemucs_ft.yaml"),
        ("HTDemucs_FT.YAML", "htdemucs_ft.yaml"),
        ("Demucs v4: htdemucs_6s", "htdemucs_6s.yaml"),
        ("model_bs_roformer_ep_317_sdr_12.9755", "model_bs_roformer_ep_317_sdr_12.9755.ckpt"),
        ("MDX23C_D1581", "MDX23C_D1581.ckpt"),
        ("MDX23C-InstVoc HQ", "MDX23C-8KFFT-InstVoc_HQ.ckpt"),
        ("newer_than_this.ckpt", "newer_than_this.ckpt"),
        ("HT-Demucs ft", "htdemucs_ft.yaml"),
        ("htdemucs_ft.onnx", ""),
        ("htdemucs_x", ""),
        ("Kim_Vocal_2", ""),
    ],
)
def test_models_with_several_files_are_found_without_their_suffix(tmp_path: Path, name: str, file: str) -> None:
    assert multi_file_model_name(name) == file
    assert (engine_of(name, tmp_path, "auto", "cuda") == "audio-separator") is bool(file)


def test_every_model_of_the_catalogue_is_found_by_its_file_and_its_title() -> None:
    for model in CATALOGUE.values():
        assert catalogue_name(model.file) == catalogue_name(model.title) == catalogue_name(model.name) == model.name


def test_a_suffix_must_be_that_of_the_models_file() -> None:
    assert known_model("Kim_Vocal_2.ckpt") is None
    assert catalogue_name("Kim_Vocal_2.ckpt") == "Kim_Vocal_2.ckpt"


def test_the_name_of_a_model_of_the_operators_stays_as_it_is() -> None:
    assert [catalogue_name(name) for name in ("own.ckpt", "own", "/srv/own.onnx")] == [
        "own.ckpt",
        "own",
        "/srv/own.onnx",
    ]


def test_an_unknown_name_suggests_models_of_every_architecture() -> None:
    with pytest.raises(PermanentError, match=r"Did you mean htdemucs_ft\.yaml"):
        find_model("htdemucs_fft")
    with pytest.raises(PermanentError, match="Did you mean UVR-DeNoise-Lite"):
        find_model("denoise lite")


def test_a_model_for_audio_separator_is_refused_with_its_right_spelling(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"MODEL_NAME=htdemucs_ft\.yaml"):
        store.ensure_model_file("htdemucs_ft", tmp_path)


def test_a_path_to_a_model_for_audio_separator_is_split(tmp_path: Path) -> None:
    (tmp_path / "own_bag.yaml").write_text("models: []")
    assert store.split_model_path(f"{tmp_path}/own_bag.yaml", ROOT) == ("own_bag.yaml", tmp_path)
    assert engine_of(f"{tmp_path}/own_bag.yaml", ROOT, "auto", "auto") == "audio-separator"
    assert model_file(f"{tmp_path}/own_bag.yaml", ROOT) == tmp_path / "own_bag.yaml"


def test_a_relative_path_starts_at_the_checkout_and_clients_see_only_the_file_name() -> None:
    settings = Settings(_env_file=None, model_name="models/own.onnx")
    assert (settings.model_name, settings.shown_model_name) == (str(ROOT / "models/own.onnx"), "own.onnx")
    assert Settings(_env_file=None, model_name="own.onnx").model_name == "own.onnx"


def test_a_path_from_a_client_finds_no_file() -> None:
    """`find_model`, which will look up the models that requests name, knows only the catalogue and no folder."""
    assert find_model("../../Kim_Vocal_2.onnx") is CATALOGUE["Kim_Vocal_2"]
    with pytest.raises(PermanentError, match=r'There is no model called "passwd"'):
        find_model("/etc/passwd")
