"""The names of downloads: the song's own name, safe in headers and on every file system."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from uvr.storage.download_name import attachment
from uvr.tasks.download_names import stem_download_name, zip_download_name
from uvr.tasks.model import Task

KEY = "some/prefix/6a7f6c1e_vocals.flac"


def task(audio: str) -> Task:
    return Task("6a7f6c1e", audio, 3, 1)


@pytest.mark.parametrize(
    ("audio", "name"),
    [
        ("https://example.com/a/Blue%20Train.mp3?token=secret", "Blue Train"),
        ("https://example.com/%E6%AD%8C%E6%9B%B2.mp3", "歌曲"),
        ("upload.name.wav", "upload.name"),
        ("https://example.com/", "6a7f6c1e"),
        ("https://example.com/..%2F..%2Fpasswd.mp3", "passwd"),
        ("https://example.com/a%0D%0ASet-Cookie%3A%20b.mp3", "a__Set-Cookie_ b"),
        ("Song \u202egnp.exe.mp3", "Song gnp.exe"),
        ('He said "no".mp3', "He said _no_"),
        ("\u200b.mp3", "6a7f6c1e"),
    ],
)
def test_downloads_are_named_after_the_song(audio: str, name: str) -> None:
    assert stem_download_name(task(audio), "vocals", KEY) == f"{name} (vocals).flac"
    assert zip_download_name(task(audio)) == f"{name}.zip"


def test_long_names_are_cut_within_no_character() -> None:
    name = stem_download_name(task("é" * 300 + ".mp3"), "v" * 300, KEY)
    assert len(name.encode()) <= 255
    assert name.startswith("é" * 75 + " (")
    assert name.endswith("v).flac")


def test_plain_name_is_sent_once() -> None:
    assert attachment("Song (vocals).wav") == 'attachment; filename="Song (vocals).wav"'


def test_other_names_are_also_sent_in_utf_8() -> None:
    header = attachment("Été, 歌 (vocals).wav")
    assert header.startswith("attachment; filename=\"Ete,  (vocals).wav\"; filename*=UTF-8''%C3%89t%C3%A9%2C%20")


@given(st.text())
def test_no_name_changes_the_header(name: str) -> None:
    name = name.encode(errors="ignore").decode()
    header = attachment(name)
    assert header.isascii()
    assert header.isprintable()
    plain, _, extended = header.partition("; filename*=")
    kind, options = parse_options_header(plain)
    assert (kind, options.keys()) == ("attachment", {"filename"})
    assert not extended or unquote(extended.removeprefix("UTF-8''")) == name
