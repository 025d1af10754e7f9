"""`python -m uvr status`: show or follow tasks of a running service."""

from __future__ import annotations

import argparse
from typing import Any

from config import Settings
from uvr.cli import remote
from uvr.cli.follow import FollowedTask, add_following_options, follow, is_following
from uvr.cli.output_names import why_not_writable
from uvr.client import safe_name, song_name


def add_parser(commands: Any) -> None:
    """Add `status` to the commands of an argument parser."""
    parser = commands.add_parser(
        "status",
        help="show tasks of a running service",
        description=f"Show the state of tasks of a running service. {remote.OUTPUT_AND_EXIT_STATUS}",
    )
    parser.add_argument(
        "ids", nargs="+", metavar="ID[=NAME]", help="the id of a task, and with -o the name of its stems"
    )
    add_following_options(parser)
    remote.add_service_options(parser)
    parser.set_defaults(run=show_tasks)


def show_tasks(options: argparse.Namespace, settings: Settings) -> int:
    """Print the state of tasks, or follow them and print where their stems are."""
    if options.output and (obstacle := why_not_writable(options.output)):
        remote.print_message(obstacle)
        return remote.NOT_SENT
    followed: list[FollowedTask] = []
    with remote.connect(options, settings) as client:

        def show(given: str) -> None:
            task_uuid, _, name = given.partition("=")
            task = client.get(task_uuid)
            if is_following(options):
                name = safe_name(name) or song_name(task.audio)
                is_taken = name in [other.name for other in followed]
                followed.append(FollowedTask(task_uuid, given, task_uuid if is_taken else name, given))
            else:
                remote.print_result({"input": given, **task.answer} if options.json else remote.task_line(task))

        status = remote.for_each(options.ids, show, as_json=options.json)
        return max(status, follow(client, followed, options))
