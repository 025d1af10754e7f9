"""Folders on the command line: which songs they have, and what the names of their stems begin with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uvr.cli.song_folders import NoSongsError, songs_with_prefixes


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, output: Path | None = None) -> dict[str, str]:
    """The songs of `folder` by their paths below it, and their prefixes."""
    songs = songs_with_prefixes([str(folder)], output)
    return {str(Path(song).relative_to(folder)): name for song, name in songs.items()}


def test_songs_come_sorted_and_sub_folders_keep_those_of_one_name_apart(tmp_path: Path) -> None:
    files(tmp_path, "b/Intro.flac", "a/CD 2/Intro.mp3", "a/Intro.MP3", "z.wav", "B.opus", "clip.mkv")
    assert found(tmp_path) == {
        "B.opus": "",
        "clip.mkv": "",
        "z.wav": "",
        "a/Intro.MP3": "a - ",
        "a/CD 2/Intro.mp3": "a - CD 2 - ",
        "b/Intro.flac": "b - ",
    }


def test_hidden_and_other_files_are_skipped(tmp_path: Path) -> None:
    files(tmp_path, "song.wav", "._song.wav", ".git/a.wav", "cover.jpg", "notes", "wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    assert list(found(tmp_path)) == ["song.wav"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    files(tmp_path, "a/song.wav", "elsewhere.wav")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "linked.wav").symlink_to(tmp_path / "elsewhere.wav")
    assert list(found(tmp_path)) == ["elsewhere.wav", "a/linked.wav", "a/song.wav"]


def test_stems_of_an_earlier_run_are_no_songs(tmp_path: Path) -> None:
    files(tmp_path, "song.wav", "stems/song_vocals.wav")
    assert list(found(tmp_path, tmp_path / "a" / ".." / "stems")) == ["song.wav"]
    assert list(found(tmp_path, tmp_path)) == ["song.wav", "stems/song_vocals.wav"]


def test_files_urls_and_folders_may_be_mixed_and_count_once(tmp_path: Path) -> None:
    files(tmp_path, "folder/one.wav", "no suffix")
    given = ["https://a.example/Two.mp3", str(tmp_path / "no suffix"), str(tmp_path / "folder" / "one.wav"), "missing"]
    songs = songs_with_prefixes([*given, str(tmp_path / "folder"), *given])
    assert songs == dict.fromkeys(given, "")
    assert list(songs) == given


def test_a_folder_without_songs_is_named(tmp_path: Path) -> None:
    files(tmp_path, "a/cover.jpg")
    with pytest.raises(NoSongsError, match=r"/a has no songs: no file in it ends like one \(\.aac, "):
        songs_with_prefixes([str(tmp_path / "a")])


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    files(tmp_path, "song.wav", "closed/song.wav")
    (tmp_path / "closed").chmod(0)
    if os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("needs a user whom permissions bind")
    with pytest.raises(PermissionError):
        found(tmp_path)
