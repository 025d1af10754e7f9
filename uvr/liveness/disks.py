"""Free space on the disks of each process, which workers announce, for the operator.

A worker announces it as one of its facts (`uvr.liveness.workers`), a text, so that older versions, which know only
texts, pass it on unread. An older worker announces none, and a text that cannot be read counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from config import Settings
from uvr.disk import space_of

FACT = "disks"
"""The name of the fact."""

_CHECKED_BEFORE_TASKS = ("TEMP_DIR", "OUTPUT_DIR")


@dataclass(frozen=True)
class FolderSpace:
    """The disk of one folder of a process."""

    folder: str
    """The variable that sets the folder."""
    free_bytes: int
    """What is free for users other than root."""
    total_bytes: int
    min_free_bytes: int
    """MIN_FREE_BYTES where processors begin no task with less than that, 0 for a folder without this check."""


def folder_spaces(settings: Settings, variables: Sequence[str]) -> list[FolderSpace]:
    """The disks of the folders that these variables set, without those that cannot be read."""
    found = []
    for variable in variables:
        folder: Path = getattr(settings, variable.lower())
        try:
            free_bytes, total_bytes = space_of(folder)
        except OSError:
            continue
        min_free_bytes = settings.min_free_bytes if variable in _CHECKED_BEFORE_TASKS else 0
        found.append(FolderSpace(variable, free_bytes, total_bytes, min_free_bytes))
    return found


def disks_fact(settings: Settings, *variables: str) -> str:
    """The value of the fact for a worker with these folders."""
    spaces = [asdict(space) for space in folder_spaces(settings, variables)]
    return json.dumps(spaces) if spaces else ""


def announced_spaces(facts: Mapping[str, str]) -> list[FolderSpace]:
    """The disks that a worker with these facts has announced."""
    try:
        return [
            FolderSpace(
                str(space["folder"]),
                int(space["free_bytes"]),
                int(space["total_bytes"]),
                int(space["min_free_bytes"]),
            )
            for space in json.loads(facts.get(FACT, "[]"))
        ]
    except (ValueError, TypeError, KeyError):  # written by another version
        return []
