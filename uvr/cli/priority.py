"""`python -m uvr priority`: change the priority of tasks that wait in a running service."""

from __future__ import annotations

import argparse
from typing import Any

from config import Settings
from uvr.cli import remote


def add_parser(commands: Any) -> None:
    """Add `priority` to the commands of an argument parser."""
    parser = commands.add_parser(
        "priority",
        help="change the priority of waiting tasks of a running service",
        description=f"Change the priority of waiting tasks of a running service. {remote.OUTPUT_AND_EXIT_STATUS}",
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a task")
    parser.add_argument("priority", type=int, choices=range(1, 6), metavar="N", help="1 to 5; 5 goes first")
    remote.add_service_options(parser)
    parser.set_defaults(run=change_priorities)


def change_priorities(options: argparse.Namespace, settings: Settings) -> int:
    """Change the priority of tasks and print the ids of those that have it now."""
    with remote.connect(options, settings) as client:

        def change(task_uuid: str) -> None:
            task = client.change_priority(task_uuid, options.priority)
            remote.print_result({"input": task_uuid, **task.answer} if options.json else task.task_uuid)

        return remote.for_each(options.ids, change, as_json=options.json)
