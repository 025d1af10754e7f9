"""Folders as input of commands: the songs in them and in their sub-folders, and the names of their stems.

Songs are recognized by the end of their names, because the client must not need a decoder. Hidden files and folders are
skipped, and links to folders are not followed, so no loop of them is endless.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from uvr.client import is_url, safe_name

# fmt: off
SUFFIXES = frozenset([
    ".aac", ".aif", ".aifc", ".aiff", ".ape", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga", ".ogg",
    ".opus", ".tta", ".wav", ".wma", ".wv",
    ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv",
])
# fmt: on


class NoSongsError(Exception):
    """A folder has no songs; the text is a sentence for the user."""


def songs_with_prefixes(inputs: Sequence[str], output: Path | None = None) -> dict[str, str]:
    """Every song of the command line and of its folders once, with what the names of its stems should begin with.

    That is "Album - " for a song in the sub-folder Album, which keeps songs of one name apart, and "" for all others.
    The folder `output` is left out: it has the stems of an earlier run. Raises `NoSongsError` for a folder without
    songs, and `OSError` for one that cannot be read.
    """
    songs: dict[str, str] = {}
    for given in inputs:
        if is_url(given) or not Path(given).is_dir():
            songs.setdefault(given, "")
            continue
        found = list(_songs_in(Path(given), output and output.resolve()))
        if not found:
            raise NoSongsError(f"{given} has no songs: no file in it ends like one ({', '.join(sorted(SUFFIXES))}).")
        for path in found:
            folders = path.relative_to(given).parent.parts
            songs.setdefault(str(path), "".join(f"{safe_name(name)} - " for name in folders))
    return songs


def _songs_in(folder: Path, excluded: Path | None) -> Iterator[Path]:
    """The songs below `folder`, sorted, those of a folder before those of its sub-folders."""
    for place, sub_folders, names in os.walk(folder, onerror=_raise):
        sub_folders[:] = sorted(name for name in sub_folders if not name.startswith("."))
        if excluded and excluded != folder.resolve():
            sub_folders[:] = [name for name in sub_folders if Path(place, name).resolve() != excluded]
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


def _raise(error: OSError) -> None:
    raise error
