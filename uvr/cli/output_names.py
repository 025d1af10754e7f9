"""The names of stems on disk, chosen before any work is done.

Otherwise a name that is too long, or a folder that is not writable, would cause an error only after the whole song was
computed. If possible, stems are named after their song. The same command chooses the same names again.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from uvr.client import is_url, truncated

_RESERVED_BYTES = 45
"""Length of `_{stem}.{format}`, and of the number that distinguishes songs of the same name."""
_USUAL_MAX_BYTES = 255


def why_not_writable(folder: Path) -> str:
    """Why stems cannot be written to `folder`, or "" if they can. The folder is created if necessary."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except FileExistsError:
        reason = "it is not a folder"
    except OSError as error:
        reason = str(error.strerror)
    return f"Stems cannot be written to {folder}: {reason}."


def stem_names(names: Sequence[str], folder: Path) -> list[str]:
    """The names that the stems of songs with these `names` begin with in `folder`, in the same order.

    Names are truncated to what the file system allows, which is measured in bytes. If names are the same, or differ
    only in upper and lower case, the second becomes "name-2" and so on. "" stays "".
    """
    try:
        max_bytes = min(os.pathconf(folder, "PC_NAME_MAX"), _USUAL_MAX_BYTES)
    except (OSError, ValueError):  # not every system knows it
        max_bytes = _USUAL_MAX_BYTES
    names = [truncated(name, max_bytes - _RESERVED_BYTES) for name in names]
    requested, taken = set(map(_folded, names)), set[str]()
    chosen = []
    for name in names:
        number, candidate = 1, name
        # A number must not produce the original name of another song.
        while name and (_folded(candidate) in taken or (number > 1 and _folded(candidate) in requested)):
            number += 1
            candidate = f"{name}-{number}"
        taken.add(_folded(candidate))
        chosen.append(candidate)
    return chosen


def song_at_risk(songs: Sequence[str], names: Sequence[str], folder: Path) -> str:
    """The first song in `folder` that a stem with one of these `names` might overwrite; "" if there is none."""
    for song in songs:
        is_in_folder = not is_url(song) and Path(song).resolve().parent == folder.resolve()
        if is_in_folder and any(name and Path(song).name.startswith(f"{name}_") for name in names):
            return song
    return ""


def _folded(name: str) -> str:
    """A form that is equal for names which some file systems do not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()
