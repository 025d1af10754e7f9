"""`python -m uvr list`: the tasks of a running service, latest first."""

from __future__ import annotations

import argparse
from functools import partial
from itertools import islice
from typing import Any

from config import Settings
from uvr.cli import remote
from uvr.client import Client

_MAX_PAGE = 200


def add_parser(commands: Any) -> None:
    """Add `list` to the commands of an argument parser."""
    parser = commands.add_parser(
        "list",
        help="list the tasks of a running service",
        description=f"List the tasks of a running service, latest first. {remote.ABOUT}",
    )
    parser.add_argument("--status", help="only tasks in this state: queued, processing, uploading, success, failed, …")
    parser.add_argument("--limit", type=_count, default=50, metavar="N", help="at most so many, 0 for all; default: 50")
    remote.add_service_options(parser)
    parser.set_defaults(run=list_tasks)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of tasks")
    return int(text)


def list_tasks(wanted: argparse.Namespace, settings: Settings) -> int:
    """Print tasks, latest first."""
    return remote.with_service(wanted, settings, partial(_list_all, wanted))


def _list_all(wanted: argparse.Namespace, client: Client) -> int:
    filters = {"status": wanted.status} if wanted.status else {}
    found = client.list(limit=min(wanted.limit or _MAX_PAGE, _MAX_PAGE), **filters)
    is_empty = True
    for task in islice(found, wanted.limit or None):
        remote.tell(task.answer if wanted.json else remote.task_line(task))
        is_empty = False
    if is_empty:
        remote.say("There are no such tasks." if filters else "There are no tasks.")
    return remote.DONE
