"""Names of stems are distinct, fit the file system, and are the same for the same command."""

from __future__ import annotations

from pathlib import Path

import pytest

from uvr.cli.output_names import stem_names, why_not_writable


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["a", "b"], ["a", "b"]),
        (["song", "song", "song"], ["song", "song-2", "song-3"]),
        (["song", "song", "song-2"], ["song", "song-3", "song-2"]),
        (["Song", "song"], ["Song", "song-2"]),
        (["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"], ["café", "café-2"]),
        (["", ""], ["", ""]),
    ],
)
def test_songs_of_one_name_are_numbered(tmp_path: Path, names: list[str], chosen: list[str]) -> None:
    found = stem_names(names, tmp_path)
    assert [name.replace("e\N{COMBINING ACUTE ACCENT}", "é") for name in found] == chosen


@pytest.mark.parametrize(("letter", "kept"), [("x", 210), ("é", 105), ("二", 70), ("😀", 52)])
def test_names_are_cut_between_characters_so_that_stems_fit(tmp_path: Path, letter: str, kept: int) -> None:
    names = stem_names([letter * 250, letter * 251], tmp_path)
    assert names == [letter * kept, letter * kept + "-2"]
    for name in names:
        (tmp_path / f"{name}_instrumental.flac").write_bytes(b"")


def test_a_missing_folder_is_created_and_stays_empty(tmp_path: Path) -> None:
    assert why_not_writable(tmp_path / "new" / "stems") == ""
    assert list((tmp_path / "new" / "stems").iterdir()) == []


def test_a_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert why_not_writable(tmp_path / "file") == f"Stems cannot be written to {tmp_path}/file: it is not a folder."
    inside = tmp_path / "file" / "stems"
    assert why_not_writable(inside) == f"Stems cannot be written to {inside}: Not a directory."
