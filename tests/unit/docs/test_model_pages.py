"""MODELS.md and its Chinese twin say of each model what the catalogue says, and of each preset what its file says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from uvr.models.catalogue import CATALOGUE, Model, catalogue_name

ROOT = Path(__file__).resolve().parents[3]
ENGLISH, CHINESE = ROOT / "MODELS.md", ROOT / "docs" / "MODELS.zh-CN.md"
PRESETS = ROOT / "uvr" / "models" / "presets.json"
SONGS = {ENGLISH: " songs", CHINESE: " 首"}
COMMERCIAL_USE = {
    ENGLISH: {"allowed": "allowed", "not allowed": "not allowed", "unknown": "unknown"},
    CHINESE: {"allowed": "允许", "not allowed": "不允许", "unknown": "未知"},
}


def rows(page: Path, number: int) -> list[list[str]]:
    """The cells of the table with this number on `page`, without its head."""
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number].splitlines()[2:]]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def quality(model: Model, page: Path) -> str:
    measured = [f"{stem} {model.sdr_db[stem]:.1f}" for stem in model.stems if stem in model.sdr_db]
    return f"{', '.join(measured)} ({model.quality_songs}{SONGS[page]})" if measured else ""


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_the_table_of_models_says_what_the_catalogue_says(page: Path) -> None:
    chosen = rows(page, 0)
    assert len(chosen) > 20
    for _, name, stems, sdr, _, memory, size, commercial_use in chosen:
        model = CATALOGUE[names_in(name)[0]]
        assert stems == ", ".join(model.stems)
        assert sdr == quality(model, page)
        assert memory == (f"{model.memory_bytes / 2**20:.0f} MiB" if model.memory_bytes else "")
        assert size == (f"{model.total_bytes / 1e6:.0f} MB" if model.total_bytes else "")
        assert commercial_use == COMMERCIAL_USE[page][model.commercial_use]


def test_both_pages_have_the_same_models_in_the_same_order_with_the_same_times() -> None:
    for number, columns in ((0, (1, 4)), (1, (0, 2))):
        english, chinese = rows(ENGLISH, number), rows(CHINESE, number)
        assert [[row[column] for column in columns] for row in english] == [
            [row[column] for column in columns] for row in chinese
        ]


def test_every_purpose_of_people_has_a_model_on_the_page() -> None:
    models = [CATALOGUE[names_in(row[1])[0]] for row in rows(ENGLISH, 0)]
    purposes = {purpose for model in models for purpose in model.purposes}
    wanted = {"vocals", "instrumental", "karaoke", "drums", "bass", "guitar", "piano", "denoise", "dereverb"}
    assert wanted <= purposes


def test_the_models_of_the_presets_are_in_the_catalogue() -> None:
    for _, _, models in rows(ENGLISH, 1):
        assert [name for name in names_in(models) if catalogue_name(name) not in CATALOGUE] == []


@pytest.mark.skipif(not PRESETS.is_file(), reason="there are no presets yet")
def test_the_table_of_presets_says_what_their_file_says() -> None:
    presets = json.loads(PRESETS.read_text(encoding="utf-8"))
    table = {names_in(name)[0]: (purpose, models) for name, purpose, models in rows(ENGLISH, 1)}
    assert list(table) == list(presets)
    for name, preset in presets.items():
        options = [option if isinstance(option, list) else [option] for option in preset["models"]]
        written = ", ".join(" + ".join(f"`{model}`" for model in option) for option in options)
        assert table[name] == (preset["purpose"], written)
