"""Following tasks until they end, with a progress bar each, and saving their stems."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from uvr.cli.progress_bar import ProgressLine
from uvr.cli.remote import DONE, SOME_FAILED, error_text, print_message, print_result
from uvr.client import Client, ClientError, Task

INTERRUPTED = 130


def add_following_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that can follow tasks."""
    parser.add_argument("--wait", action="store_true", help="follow the tasks until they end")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="save the stems there as {song}_{stem}.{ext}; implies --wait",
    )


def is_following(options: argparse.Namespace) -> bool:
    """Whether the command line asks to follow the tasks."""
    return bool(options.wait or options.output)


@dataclass(frozen=True)
class FollowedTask:
    """A task to be followed."""

    task_uuid: str
    given: str
    """The song or id on the command line that this task belongs to."""
    name: str = ""
    """The name of its stems; "" means the name of the song."""
    status_argument: str = ""
    """The argument of `status` that follows it again: its id, with the name of its stems if that is not the song's."""


def follow(client: Client, tasks: Sequence[FollowedTask], options: argparse.Namespace) -> int:
    """Follow tasks until they end, save their stems, print the results, and return the exit status.

    If this is interrupted, the tasks continue; a message says how to follow the rest of them again.
    """
    remaining = [task.status_argument or task.task_uuid for task in tasks]
    status = DONE
    try:
        for followed in tasks:
            with closing(ProgressLine(followed.name or followed.task_uuid, sys.stderr)) as line:
                task = client.wait(followed.task_uuid, on_progress=line.followed)
            remaining.pop(0)
            if not _save_and_report(client, followed, task, options):
                status = SOME_FAILED
    except (ClientError, KeyboardInterrupt) as error:
        flags = ["-o", str(options.output)] if options.output else ["--wait"]
        command = shlex.join(["python", "-m", "uvr", "status", *flags, *remaining])
        print_message(f"The service continues with its tasks; to follow them again: {command}")
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(INTERRUPTED) from None
        raise
    return status


def _save_and_report(client: Client, followed: FollowedTask, task: Task, options: argparse.Namespace) -> bool:
    """Save the stems of a task that has ended, if asked to, and print its result; False if it or this failed."""
    problem = "" if task.status == "success" else task.error_message or f"The task was {task.status}."
    files: dict[str, str] = {}
    try:
        if options.output and not problem:
            paths = client.download(task.task_uuid, options.output, followed.name)
            files = {stem: str(path) for stem, path in paths.items()}
    except ClientError as error:
        problem = error_text(error)
    except OSError as error:
        problem = f"The stems cannot be written to {options.output}: {error_text(error)}"
    if options.json:
        print_result({"input": followed.given, **task.answer, "files": files, "error_message": problem or None})
    else:
        for place in files.values() if options.output else task.stems.values():
            print_result(place)
    if problem:
        print_message(f"{followed.given}: {problem}")
    return not problem
