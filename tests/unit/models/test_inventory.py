"""Which models a folder has, by their files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from uvr.models import audio_separator, inventory
from uvr.models.inventory import Inventory
from uvr.models.required_files import is_present

PARAMETERS = {
    "compensate": 1.02,
    "mdx_dim_f_set": 2048,
    "mdx_dim_t_set": 8,
    "mdx_n_fft_scale_set": 5120,
    "primary_stem": "Lead Vocals",
}
BLOCK = "training:\n  instruments:\n  - Vocals\n  - other\n  target_instrument: Vocals\n"
ON_ONE_LINE = "training:\n  instruments: ['drums', 'bass', 'vocals']\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that a folder of models may have."""
    for name, text in {
        "own.onnx": "a network",
        "own.onnx.json": json.dumps(PARAMETERS),
        "nameless.onnx": "a network without parameters",
        "two.ckpt": "a network",
        "two.yaml": BLOCK,
        "three.ckpt": "a network",
        "three.yaml": ON_ONE_LINE,
        "alone.ckpt": "a network without a description",
        "bag.yaml": "models: ['0123abcd', 'ffff0000']\nsegment: 44\n",
        "0123abcd-11112222.th": "",
        "ffff0000.th": "",
        "incomplete.yaml": "models:\n- 0123abcd\n- 99999999\n",
        "old.pth": "another VR network",
        "song.mp3": "",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "folder.onnx").mkdir()
    return tmp_path


def test_a_model_is_one_whose_files_are_complete(folder: Path) -> None:
    found = {name: model.stems for name, model in Inventory(folder).models().items()}
    assert found == {
        "bag.yaml": (),  # its networks do not list their sources
        "own.onnx": ("lead_vocals", "no_lead_vocals"),
        "three.ckpt": ("drums", "bass", "vocals", "instrumental"),
        "two.ckpt": ("vocals", "instrumental"),
    }


def test_what_a_model_lacks_is_in_the_log_once(folder: Path) -> None:
    found = Inventory(folder)
    with capture_logs() as logs:
        found.models()
        found.models()
    reasons = {line["model"]: line["reason"] for line in logs if line["event"] == "model.passed_over"}
    assert len(reasons) == len(logs)
    assert reasons["alone.ckpt"].startswith("alone.ckpt needs the YAML file that describes its network")
    assert "its hash" in reasons["nameless.onnx"]
    assert "If it is a RoFormer" in reasons["old.pth"]


def test_the_stems_of_a_model_of_the_catalogue_follow_its_yaml_file_as_soon_as_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "BS-Roformer-SW.ckpt").write_text("a network")
    found = Inventory(tmp_path)
    assert not found.models()
    (tmp_path / "BS-Roformer-SW.yaml").write_text(ON_ONE_LINE)
    assert found.models()["BS-Roformer-SW.ckpt"].stems == ("drums", "bass", "vocals", "instrumental")
    name = "melband_roformer_inst_v1.ckpt"
    (tmp_path / name).write_text("a network")
    assert name not in found.models()
    (tmp_path / "config_melbandroformer_inst.yaml").write_text(ON_ONE_LINE)
    assert found.models()[name].stems == ("drums", "bass", "vocals", "instrumental")


def test_a_known_vr_model_is_found_by_its_hash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = audio_separator.tail_md5(folder / "old.pth")
    monkeypatch.setattr(audio_separator, "VR_PARAMETERS", {key: {"primary_stem": "Noise"}})
    assert Inventory(folder).models()["old.pth"].stems == ("noise", "no_noise")


def test_a_file_is_read_again_only_when_it_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Inventory(folder)
    assert "own.onnx" in opened.models()
    read: list[str] = []
    recognize = inventory._recognize
    monkeypatch.setattr(inventory, "_recognize", lambda path: read.append(path.name) or recognize(path))
    opened.models()
    assert read == []
    (folder / "own.onnx").write_text("a longer network", encoding="utf-8")
    (folder / "own.onnx.json").unlink()
    assert "own.onnx" not in opened.models()
    assert read == ["own.onnx"]
    (folder / "own.onnx.json").write_text(json.dumps(PARAMETERS), encoding="utf-8")
    assert "own.onnx" in opened.models()


def test_a_folder_that_is_not_there_has_no_models(tmp_path: Path) -> None:
    assert Inventory(tmp_path / "missing").models() == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("own", True),
        ("own.onnx", True),
        ("htdemucs", False),
        ("UVR-MDX-NET-Inst_HQ_4", False),
        ("no such model", False),
    ],
)
def test_a_model_is_present_under_any_spelling(folder: Path, name: str, expected: bool) -> None:
    assert is_present(name, folder) is expected
