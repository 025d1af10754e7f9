"""`python -m uvr status`: how tasks of a running service stand."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from config import Settings
from uvr.cli import remote
from uvr.cli.follow import Followed, add_following_options, follow, is_followed
from uvr.cli.output_names import why_not_writable
from uvr.client import Client, safe_name, song_name


def add_parser(commands: Any) -> None:
    """Add `status` to the commands of an argument parser."""
    parser = commands.add_parser(
        "status",
        help="show tasks of a running service",
        description=f"Show how tasks of a running service stand. {remote.ABOUT}",
    )
    parser.add_argument(
        "ids", nargs="+", metavar="ID[=NAME]", help="the id of a task, and with -o what its stems are called after"
    )
    add_following_options(parser)
    remote.add_service_options(parser)
    parser.set_defaults(run=show_tasks)


def show_tasks(wanted: argparse.Namespace, settings: Settings) -> int:
    """Print how tasks stand, or follow them and print where their stems are."""
    if wanted.output and (obstacle := why_not_writable(wanted.output)):
        remote.say(obstacle)
        return remote.NOT_ASKED
    return remote.with_service(wanted, settings, partial(_show_all, wanted))


def _show_all(wanted: argparse.Namespace, client: Client) -> int:
    followed: list[Followed] = []

    def step(given: str) -> None:
        task_uuid, _, name = given.partition("=")
        task = client.get(task_uuid)
        if is_followed(wanted):
            name = safe_name(name) or song_name(task.audio)
            is_taken = name in [other.name for other in followed]
            followed.append(Followed(task_uuid, given, task_uuid if is_taken else name, given))
        else:
            remote.tell({"input": given, **task.answer} if wanted.json else remote.task_line(task))

    status = remote.for_each(wanted.ids, step, as_json=wanted.json)
    return max(status, follow(client, followed, wanted))
