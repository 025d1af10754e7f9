"""Presets: those of the service, and what an operator's file may add, replace, and get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config import SettingsError
from uvr.models.presets import read_presets


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "presets.json"


def faults(file: Path, content: bytes) -> list[str]:
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_presets(file)
    return [fault.removeprefix(f"PRESETS_FILE: {file}: ") for fault in caught.value.faults]


def test_the_service_has_presets_for_several_purposes() -> None:
    presets = read_presets(None)
    assert {"fast", "balanced", "best", "karaoke"} <= presets.keys()
    assert all(preset.name == name and preset.purpose and preset.options for name, preset in presets.items())


def test_presets_for_songs_end_with_models_that_are_often_here() -> None:
    presets = read_presets(None)
    for name in ("fast", "balanced", "best"):
        assert {("UVR-MDX-NET-Inst_HQ_4",), ("Spleeter-2stems",)} <= set(presets[name].options)


def test_a_file_adds_and_replaces_presets_and_switches_them_off(file: Path) -> None:
    presets = {
        "choir": {"models": ["ours.onnx", ["Kim Vocal 2", "uvr-mdx-net-voc_ft.ONNX", "Kim_Vocal_2"]]},
        "best": {"models": ["Kim_Inst"], "purpose": "ours"},
        "karaoke": {"models": []},
    }
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(presets).encode())
    found = read_presets(file)
    assert found["choir"].options == (("ours.onnx",), ("Kim_Vocal_2", "UVR-MDX-NET-Voc_FT"))
    assert (found["best"].purpose, found["best"].options) == ("ours", (("Kim_Inst",),))
    assert "karaoke" not in found
    assert found["fast"] == read_presets(None)["fast"]


@pytest.mark.parametrize(
    "entry",
    [
        "Kim_Inst",
        ["Kim_Inst"],
        {},
        {"models": "Kim_Inst"},
        {"models": [""]},
        {"models": [3]},
        {"models": [[]]},
        {"models": [["a", "b", "c", "d", "e"]]},
        {"models": ["../secret.onnx"]},
        {"models": ["Kim_Inst"], "purpose": 3},
        {"models": ["Kim_Inst"], "colour": "blue"},
    ],
)
def test_an_entry_of_another_form_is_refused(file: Path, entry: Any) -> None:
    form = '{"models": […], "purpose": "…"} with names of models, or lists of 1 to 4 names'
    assert faults(file, json.dumps({"choir": entry, "ok": {"models": ["Kim_Inst"]}}).encode()) == [
        f"choir must be {form}"
    ]


@pytest.mark.parametrize("name", ["Best", "", "a b", "-x", "a,b", "*", "é"])
def test_a_preset_has_a_plain_name(file: Path, name: str) -> None:
    content = json.dumps({name: {"models": ["Kim_Inst"]}}).encode()
    assert faults(file, content) == [f"{name} must consist of a-z, 0-9, - and _, and not begin with - or _"]


@pytest.mark.parametrize("name", ["kim_vocal_2", "kim-inst", "kuielab_a_bass", "htdemucs"])
def test_no_preset_takes_the_name_of_a_model(file: Path, name: str) -> None:
    content = json.dumps({name: {"models": ["Kim_Inst"]}}).encode()
    assert faults(file, content) == [f"{name} is the name of a model; choose another"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_file_that_is_no_json_object_is_refused(file: Path, content: bytes) -> None:
    [fault] = faults(file, content)
    assert fault.startswith("must be a JSON object of presets (")


def test_a_file_that_is_missing_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match=f"PRESETS_FILE: {file} cannot be read: No such file or directory"):
        read_presets(file)
