"""Tasks followed to their end, with a progress bar each, and their stems fetched."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from uvr.cli.progress_bar import ProgressLine
from uvr.cli.remote import DONE, SOME_FAILED, say, sentence, tell
from uvr.client import Client, ClientError, Task

INTERRUPTED = 130


def add_following_options(parser: argparse.ArgumentParser) -> None:
    """Add what commands take that can follow tasks."""
    parser.add_argument("--wait", action="store_true", help="follow the tasks to their end")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="put the stems there, as {song}_{stem}.{ext}; means --wait"
    )


def is_followed(wanted: argparse.Namespace) -> bool:
    """Whether the command line asks to follow the tasks."""
    return bool(wanted.wait or wanted.output)


@dataclass(frozen=True)
class Followed:
    """A task to be followed: what named it on the command line, and what its stems are called ("": after the song)."""

    task_uuid: str
    given: str
    name: str = ""
    again: str = ""
    """What names it to `status`, with the name of its stems where that is not the song's."""


def follow(client: Client, tasks: Sequence[Followed], wanted: argparse.Namespace) -> int:
    """Follow tasks to their ends, fetch their stems, tell what became of each; the exit status."""
    left = [task.again or task.task_uuid for task in tasks]
    status = DONE
    with _leaving_them_to_the_service(left, wanted):
        for followed in tasks:
            task = _ended(client, followed)
            left.pop(0)
            if not _reported(client, followed, task, wanted):
                status = SOME_FAILED
    return status


@contextmanager
def _leaving_them_to_the_service(tasks: Iterable[str], wanted: argparse.Namespace) -> Iterator[None]:
    """Whoever stops following tasks is told how to find them again."""
    try:
        yield
    except (ClientError, KeyboardInterrupt) as error:
        again = [
            "python",
            "-m",
            "uvr",
            "status",
            *(["-o", str(wanted.output)] if wanted.output else ["--wait"]),
            *tasks,
        ]
        say(f"The service goes on with its tasks; to follow them again: {shlex.join(again)}")
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(INTERRUPTED) from None
        raise


def _ended(client: Client, followed: Followed) -> Task:
    with closing(ProgressLine(followed.name or followed.task_uuid, sys.stderr)) as line:
        return client.wait(followed.task_uuid, on_progress=partial(_show, line))


def _show(line: ProgressLine, task: Task) -> None:
    words = {"queued": _place(task), "uploading": "storing the stems"}.get(task.status, f"{task.progress:4.0%}")
    line.show(task.progress, words if task.eta_s is None else f"{words}, about {task.eta_s} s left")


def _place(task: Task) -> str:
    return f"queued, {task.position} before it" if task.position else "queued"


def _reported(client: Client, followed: Followed, task: Task, wanted: argparse.Namespace) -> bool:
    """Tell what became of a task; whether its stems are where they were wanted."""
    problem = "" if task.status == "success" else task.error_message or f"The task was {task.status}."
    files: dict[str, str] = {}
    try:
        if wanted.output and not problem:
            paths = client.download(task.task_uuid, wanted.output, followed.name)
            files = {stem: str(path) for stem, path in paths.items()}
    except ClientError as error:
        problem = sentence(error)
    except OSError as error:
        problem = f"The stems cannot be written to {wanted.output}: {sentence(error)}"
    if wanted.json:
        tell({"input": followed.given, **task.answer, "files": files, "error_message": problem or None})
    else:
        for place in files.values() if wanted.output else task.stems.values():
            tell(place)
    if problem:
        say(f"{followed.given}: {problem}")
    return not problem
