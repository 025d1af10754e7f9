"""`python -m uvr dead`: dead letters listed, brought back or let go, for operators and their scripts.

Promises to scripts: stdout has one line, or one JSON object, for each dead letter that is listed, retried or dropped,
and nothing else; the exit status is 0 when all was done, 1 when some of the tasks named could not be helped, and 2 when
the command was wrong or Redis did not answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from config import Settings, SettingsError, refuse_to_start

if TYPE_CHECKING:  # the commands that need no Redis start without it
    from uvr.tasks.dead_letters import DeadLetters, DeadTask, Kind

DONE, SOME_UNKNOWN, NOT_DONE = 0, 1, 2
KINDS: tuple[Kind, ...] = ("tasks", "results", "webhooks")


def add_parser(commands: Any) -> None:
    """Add `dead` to the commands of an argument parser."""
    parser = commands.add_parser("dead", help="list, retry or drop tasks that were given up", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("list", help="show dead letters, the latest of each queue first")
    show.set_defaults(run=show_letters)
    retry = actions.add_parser("retry", help="bring tasks back to where they failed")
    retry.set_defaults(run=retry_letters)
    drop = actions.add_parser("drop", help="let tasks rest: they stay failed, and stems that were not stored go")
    drop.set_defaults(run=drop_letters)
    for action in (retry, drop):
        which = action.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", nargs="*", default=[], metavar="ID", help="the id of a task")
        which.add_argument("--all", action="store_true", help="every dead letter there is")
    for action in (show, retry, drop):
        action.add_argument("--queue", choices=KINDS, help="look into this queue only")
        action.add_argument("--json", action="store_true", help="print one JSON object for each task")


def show_letters(wanted: argparse.Namespace, settings: Settings) -> int:
    """Print all dead letters."""

    def show(letters: DeadLetters) -> int:
        found = letters.all(_kinds(wanted))
        for letter in found:
            _print(asdict(letter) if wanted.json else _line(letter))
        if not found:
            sys.stderr.write("There are no dead letters.\n")
        return DONE

    return _with_dead_letters(settings, show)


def retry_letters(wanted: argparse.Namespace, settings: Settings) -> int:
    """Bring the tasks named back to where they failed."""
    return _with_dead_letters(settings, lambda letters: _settle(wanted, letters, "retry", letters.retry))


def drop_letters(wanted: argparse.Namespace, settings: Settings) -> int:
    """Let the tasks named rest."""
    return _with_dead_letters(settings, lambda letters: _settle(wanted, letters, "drop", letters.drop))


def _settle(wanted: argparse.Namespace, letters: DeadLetters, verb: str, step: Callable[..., bool]) -> int:
    kinds = _kinds(wanted)
    status = DONE
    for task_uuid in _without_repeats(wanted.ids or [letter.task_uuid for letter in letters.all(kinds)]):
        if step(task_uuid, kinds):
            _print({"task_uuid": task_uuid} if wanted.json else task_uuid)
        else:
            sys.stderr.write(f"There is no dead letter {task_uuid} to {verb}; `python -m uvr dead list` shows them.\n")
            status = SOME_UNKNOWN
    return status


def _with_dead_letters(settings: Settings, action: Callable[[DeadLetters], int]) -> int:
    from redis import RedisError

    from uvr.redis.clients import connect
    from uvr.tasks.broker import Broker
    from uvr.tasks.dead_letters import DeadLetters

    try:
        clients = connect(settings)
    except SettingsError as error:
        refuse_to_start(error.faults)
    try:
        return action(DeadLetters(Broker(settings, clients)))
    except RedisError as error:
        sys.stderr.write(f"Redis does not answer, or takes no writes: {error}\n")
        return NOT_DONE
    finally:
        clients.close()


def _kinds(wanted: argparse.Namespace) -> tuple[Kind, ...]:
    return (wanted.queue,) if wanted.queue else KINDS


def _without_repeats(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def _line(letter: DeadTask) -> str:
    queue = f"{letter.queue}@{letter.node}" if letter.node else letter.queue
    counts = f"failures {letter.failures}, crashes {letter.crashes}"
    return f"{letter.buried_at}  {queue:8}  {letter.task_uuid}  {counts}  {letter.error_message}"


def _print(what: str | dict[str, Any]) -> None:
    sys.stdout.write((what if isinstance(what, str) else json.dumps(what, ensure_ascii=False)) + "\n")
