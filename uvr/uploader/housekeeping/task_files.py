"""What lies on the disk under a task's name: found by the form of the name, so that nothing else is ever seen.

Everything this service leaves on a disk begins with the id of its task, and mostly goes on with the fence of the claim
that made it. Links are not followed.
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
    """A file or a folder of one task, and of one claim where its form has a fence (0 where not)."""

    path: Path
    task_uuid: str
    fence: int


def folders_in(parent: Path, form: str) -> list[TaskFile]:
    """The folders right below `parent` whose whole names have this form, as they were at one moment."""
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []  # nothing has been made yet
    except OSError as error:
        log.warning("disk.not_read", error=str(error))
        return []
    return _of_this_form(found, form)


def files_below(root: Path, form: str) -> list[TaskFile]:
    """The files anywhere below `root` whose whole names have this form."""
    return _of_this_form((Path(folder) / name for folder, _, names in os.walk(root) for name in names), form)


def _of_this_form(paths: Iterable[Path], form: str) -> list[TaskFile]:
    matches = ((path, re.fullmatch(form, path.name)) for path in paths)
    return [
        TaskFile(path, match["task_uuid"], int(match.groupdict().get("fence", 0))) for path, match in matches if match
    ]
