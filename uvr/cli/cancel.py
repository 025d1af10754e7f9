"""`python -m uvr cancel`: cancel tasks of a running service."""

from __future__ import annotations

import argparse
from typing import Any

from config import Settings
from uvr.cli import remote


def add_parser(commands: Any) -> None:
    """Add `cancel` to the commands of an argument parser."""
    parser = commands.add_parser(
        "cancel",
        help="cancel tasks of a running service",
        description=f"Cancel tasks of a running service. {remote.OUTPUT_AND_EXIT_STATUS}",
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a task")
    remote.add_service_options(parser)
    parser.set_defaults(run=cancel_tasks)


def cancel_tasks(options: argparse.Namespace, settings: Settings) -> int:
    """Cancel tasks and print the ids of those that were cancelled."""
    with remote.connect(options, settings) as client:

        def cancel(task_uuid: str) -> None:
            task = client.cancel(task_uuid)
            remote.print_result({"input": task_uuid, **task.answer} if options.json else task.task_uuid)

        return remote.for_each(options.ids, cancel, as_json=options.json)
