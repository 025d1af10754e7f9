"""`python -m uvr list`: list the tasks of a running service, newest first."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

from config import Settings
from uvr.cli import remote

_MAX_PAGE = 200


def add_parser(commands: Any) -> None:
    """Add `list` to the commands of an argument parser."""
    parser = commands.add_parser(
        "list",
        help="list the tasks of a running service",
        description=f"List the tasks of a running service, newest first. {remote.OUTPUT_AND_EXIT_STATUS}",
    )
    parser.add_argument("--status", help="only tasks in this state: queued, processing, uploading, success, failed, …")
    parser.add_argument("--batch", metavar="ID", help="only tasks that were submitted in this list")
    parser.add_argument(
        "--limit", type=_count, default=50, metavar="N", help="print at most N tasks, 0 for all; default: 50"
    )
    remote.add_service_options(parser)
    parser.set_defaults(run=list_tasks)


def list_tasks(options: argparse.Namespace, settings: Settings) -> int:
    """Print tasks, newest first."""
    given = {"status": options.status, "batch": options.batch}
    filters = {name: value for name, value in given.items() if value}
    with remote.connect(options, settings) as client:
        tasks = client.list(limit=min(options.limit or _MAX_PAGE, _MAX_PAGE), **filters)
        is_empty = True
        for task in islice(tasks, options.limit or None):
            remote.print_result(task.answer if options.json else remote.task_line(task))
            is_empty = False
    if is_empty:
        remote.print_message("There are no such tasks." if filters else "There are no tasks.")
    return remote.DONE


def _count(text: str) -> int:
    """A number of tasks from the command line; argparse prints the error."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of tasks")
    return int(text)
