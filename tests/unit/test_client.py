"""File names from songs and URLs; and the client is one file that can be copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from uvr import client
from uvr.client import Task, is_url, song_name


def test_the_client_can_be_copied_without_the_rest(tmp_path: Path) -> None:
    shutil.copy(str(client.__file__), tmp_path / "stems_client.py")
    code = "import sys, stems_client; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True, timeout=60)
    assert not set(loaded.split()) & {"uvr", "config", "pydantic", "structlog", "redis"}


@pytest.mark.parametrize(
    ("song", "name"),
    [
        ("Lied.mp3", "Lied"),
        ("folder/二.tar.flac", "二.tar"),
        ("https://example.com/a/Mein%20Lied.mp3?token=1#t=2", "Mein Lied"),
        ("https://example.com/a%2Fb/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://example.com/con%3A%00%5Ca.mp3", "con___a"),
        ("https://example.com/", ""),
        ("https://example.com/..", ""),
        ("lied", "lied"),
        ("x" * 300 + ".mp3", "x" * 150),
        ("二" * 60 + ".mp3", "二" * 50),
        ("😀" * 40 + ".mp3", "😀" * 37),
        (os.fsdecode(b"caf\xe9.mp3"), "caf"),
    ],
)
def test_stems_are_named_after_the_song(song: str, name: str) -> None:
    assert song_name(song) == name


@pytest.mark.parametrize(
    ("song", "answer"), [("https://a/b", True), ("HTTP://a/b", True), ("ftp://a/b", False), ("http.mp3", False)]
)
def test_songs_are_urls_or_files(song: str, answer: bool) -> None:
    assert is_url(song) is answer


@pytest.mark.parametrize("status", ["success", "failed", "cancelled"])
def test_final_states_are_recognized(status: str) -> None:
    assert Task("id", status).is_final
    assert not Task("id", "processing").is_final
