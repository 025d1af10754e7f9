"""Finds the files and folders of tasks by the pattern of their names, so that anything else is never touched.

The name of everything this service writes to a disk begins with the id of its task. In most names the fence of the
claim that wrote it follows. Symbolic links are not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

TASK_UUID = r"(?P<task_uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
FENCE = r"(?P<fence>[0-9]+)"


@dataclass(frozen=True)
class TaskFile:
    """A file or folder of one task, written by the claim with this `fence` (0 when the name has none)."""

    path: Path
    task_uuid: str
    fence: int


def folders_in(parent: Path, pattern: str) -> list[TaskFile]:
    """The folders directly in `parent` whose whole names match `pattern`, as they were at one moment."""
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []  # no task has needed it yet
    except OSError as error:
        log.warning("disk.not_read", error=str(error))
        return []
    return _matching(found, pattern)


def files_below(root: Path, pattern: str) -> list[TaskFile]:
    """The files anywhere below `root` whose whole names match `pattern`."""
    return _matching((Path(folder) / name for folder, _, names in os.walk(root) for name in names), pattern)


def _matching(paths: Iterable[Path], pattern: str) -> list[TaskFile]:
    matches = ((path, re.fullmatch(pattern, path.name)) for path in paths)
    return [
        TaskFile(path, match["task_uuid"], int(match.groupdict().get("fence", 0))) for path, match in matches if match
    ]
