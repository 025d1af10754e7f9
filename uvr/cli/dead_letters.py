"""`python -m uvr dead`: list, retry or drop dead letters, for operators and their scripts.

Promises to scripts: stdout has one line, or one JSON object, for each dead letter that is listed, retried or dropped,
and nothing else. The exit status is 0 if everything was done, 1 if some of the given ids are not dead letters, and 2 if
the command was wrong or Redis did not answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from config import Settings, SettingsError, refuse_to_start

if TYPE_CHECKING:  # commands that do not need Redis start without importing it
    from uvr.tasks.broker import Kind
    from uvr.tasks.dead_letters import DeadLetters

DONE, SOME_UNKNOWN, NOT_DONE = 0, 1, 2
KINDS: tuple[Kind, ...] = ("tasks", "results", "webhooks")


def add_parser(commands: Any) -> None:
    """Add `dead` to the commands of an argument parser."""
    parser = commands.add_parser("dead", help="list, retry or drop tasks that were given up", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("list", help="list dead letters, the newest of each queue first")
    show.set_defaults(run=list_letters)
    retry = actions.add_parser("retry", help="put tasks back into the queue in which they failed")
    retry.set_defaults(run=retry_letters)
    drop = actions.add_parser("drop", help="remove dead letters: their tasks stay failed, unsaved stems are deleted")
    drop.set_defaults(run=drop_letters)
    for action in (retry, drop):
        which = action.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", nargs="*", default=[], metavar="ID", help="the id of a task")
        which.add_argument("--all", action="store_true", help="all dead letters")
    for action in (show, retry, drop):
        action.add_argument("--queue", choices=KINDS, help="only this queue")
        action.add_argument("--json", action="store_true", help="print one JSON object per task")


def list_letters(options: argparse.Namespace, settings: Settings) -> int:
    """Print all dead letters."""
    with _dead_letters(settings) as letters:
        found = letters.all(_kinds(options))
    for letter in found:
        queue = f"{letter.queue}@{letter.node}" if letter.node else letter.queue
        counts = f"failures {letter.failures}, crashes {letter.crashes}"
        line = f"{letter.buried_at}  {queue:8}  {letter.task_uuid}  {counts}  {letter.error_message}"
        _print(asdict(letter) if options.json else line)
    if not found:
        sys.stderr.write("There are no dead letters.\n")
    return DONE


def retry_letters(options: argparse.Namespace, settings: Settings) -> int:
    """Put tasks back into the queue in which they failed."""
    with _dead_letters(settings) as letters:
        return _for_each(options, letters, "retry", letters.retry)


def drop_letters(options: argparse.Namespace, settings: Settings) -> int:
    """Remove dead letters; their tasks stay failed."""
    with _dead_letters(settings) as letters:
        return _for_each(options, letters, "drop", letters.drop)


def _for_each(options: argparse.Namespace, letters: DeadLetters, verb: str, action: Callable[..., bool]) -> int:
    """Call `action` for the given ids, or for all dead letters, and return the exit status."""
    kinds = _kinds(options)
    ids = options.ids or [letter.task_uuid for letter in letters.all(kinds)]
    status = DONE
    for task_uuid in dict.fromkeys(ids):
        if action(task_uuid, kinds):
            _print({"task_uuid": task_uuid} if options.json else task_uuid)
        else:
            sys.stderr.write(f"There is no dead letter {task_uuid} to {verb}; `python -m uvr dead list` lists them.\n")
            status = SOME_UNKNOWN
    return status


@contextmanager
def _dead_letters(settings: Settings) -> Iterator[DeadLetters]:
    """The dead letters of the service. If Redis does not answer, this says so and ends with the exit status 2."""
    from redis import RedisError

    from uvr.redis.clients import connect
    from uvr.tasks.broker import Broker
    from uvr.tasks.dead_letters import DeadLetters

    try:
        clients = connect(settings)
    except SettingsError as error:
        refuse_to_start(error.faults)
    try:
        yield DeadLetters(Broker(settings, clients))
    except RedisError as error:
        sys.stderr.write(f"Redis does not answer, or does not accept writes: {error}\n")
        raise SystemExit(NOT_DONE) from None
    finally:
        clients.close()


def _kinds(options: argparse.Namespace) -> tuple[Kind, ...]:
    return (options.queue,) if options.queue else KINDS


def _print(result: str | dict[str, Any]) -> None:
    sys.stdout.write((result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)) + "\n")
