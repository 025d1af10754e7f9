"""What stems on disk are called, and whether they can be written: settled before any work is done for them.

A name that turns out too long, or a folder that cannot be written to, would otherwise show when the whole song has been
computed. Names are the songs' own where that is possible, and the same command gives the same names again.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from uvr.client import truncated

_BESIDE_THE_SONG_BYTES = 45
"""Of `_{stem}.{format}`, and of the number in the name of a song whose name others have as well."""
_USUAL_MAX_BYTES = 255


def why_not_writable(folder: Path) -> str:
    """Why stems cannot be put into `folder`, which is made if it is not there; "" if they can."""
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
    """What the stems of songs of these `names` are called after in `folder`, in their order.

    Names are shortened to what the file system takes, which counts bytes; of several that are the same, or differ in
    upper and lower case only, the second becomes "name-2" and so on. "" stays "".
    """
    max_bytes = _max_name_bytes(folder) - _BESIDE_THE_SONG_BYTES
    return _distinct([truncated(name, max_bytes) for name in names])


def _max_name_bytes(folder: Path) -> int:
    try:
        return min(os.pathconf(folder, "PC_NAME_MAX"), _USUAL_MAX_BYTES)
    except (OSError, ValueError):  # not every system says it
        return _USUAL_MAX_BYTES


def _distinct(names: Iterable[str]) -> list[str]:
    names = list(names)
    wanted, taken = set(map(_folded, names)), set[str]()
    chosen = []
    for name in names:
        number, candidate = 1, name
        # A number must not make the name that another song has from the start.
        while name and (_folded(candidate) in taken or (number > 1 and _folded(candidate) in wanted)):
            number += 1
            candidate = f"{name}-{number}"
        taken.add(_folded(candidate))
        chosen.append(candidate)
    return chosen


def _folded(name: str) -> str:
    """The same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()
