"""`python -m uvr cancel`: tasks of a running service ended before their time."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from config import Settings
from uvr.cli import remote
from uvr.client import Client


def add_parser(commands: Any) -> None:
    """Add `cancel` to the commands of an argument parser."""
    parser = commands.add_parser(
        "cancel",
        help="cancel tasks of a running service",
        description=f"End tasks of a running service before their time. {remote.ABOUT}",
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a task")
    remote.add_service_options(parser)
    parser.set_defaults(run=cancel_tasks)


def cancel_tasks(wanted: argparse.Namespace, settings: Settings) -> int:
    """Cancel tasks and print the ids of those that were."""
    return remote.with_service(wanted, settings, partial(_cancel_all, wanted))


def _cancel_all(wanted: argparse.Namespace, client: Client) -> int:
    def step(task_uuid: str) -> None:
        task = client.cancel(task_uuid)
        remote.tell({"input": task_uuid, **task.answer} if wanted.json else task.task_uuid)

    return remote.for_each(wanted.ids, step, as_json=wanted.json)
