"""What clients call the files that a task has made: "Song (vocals).wav", and "Song.zip" for all of them.

Names are safe on every file system, contain no control or formatting characters, and are at most 220 bytes long.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from uvr.client import song_name, truncated
from uvr.tasks.model import Task

_MAX_SUFFIX_BYTES = 70
"""Of a stem's name with parentheses and extension; a song's name has at most 150 bytes."""


def stem_download_name(task: Task, stem: str, key: str) -> str:
    """The name of one stem of `task`, which is stored under `key`."""
    return f"{_song(task)} ({truncated(stem, _MAX_SUFFIX_BYTES - 20)}){PurePosixPath(key).suffix}"


def zip_download_name(task: Task) -> str:
    """The name of the archive with all stems of `task`."""
    return f"{_song(task)}.zip"


def _song(task: Task) -> str:
    """The song's own name, from its URL or its file; the task's id if it has none."""
    printable = "".join(filter(str.isprintable, song_name(task.audio)))
    return printable.strip() or task.task_uuid
