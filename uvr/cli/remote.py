"""What the commands for a running service share: its address, the credentials, the output and the exit status.

Promises to scripts: stdout contains only results. With --json, a result is one object per song or id of the command
line: the task as the service returns it, and the `input` that it belongs to. The exit status is 0 if everything was
done, 1 if something failed or was refused, and 2 if the command was wrong, the service did not answer, or it did not
accept the credentials.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from config import Settings
from uvr.client import Client, ClientError, CredentialsError, Task, UnreachableError

DONE, SOME_FAILED, NOT_SENT = 0, 1, 2

OUTPUT_AND_EXIT_STATUS = """Results go to stdout, messages to stderr. The exit status is 0 if everything was done, 1 if
something failed or was refused, 2 if the command was wrong, the service did not answer, or it did not accept the
credentials."""

_SET_CREDENTIALS = "Set UVR_USERNAME and UVR_PASSWORD, or UVR_TOKEN, in the environment or in .env."


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands for a running service have."""
    parser.add_argument(
        "--url", default="", help="address of the service; default: UVR_URL, or the service that this .env configures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per task")


@contextmanager
def connect(options: argparse.Namespace, settings: Settings) -> Iterator[Client]:
    """A client of the service that the command line or the settings name.

    If the service cannot be used, this prints why and ends the command with the exit status 2.
    """
    address = (options.url or settings.uvr_url or settings.local_url).rstrip("/")
    username = settings.uvr_username or settings.basic_auth_username
    password, token = settings.uvr_password.get_secret_value(), settings.uvr_token.get_secret_value()
    if not (password or token) and address in (settings.local_url, settings.base_url):
        # This password belongs to the service that .env configures, and is never sent to another address.
        password = settings.basic_auth_password.get_secret_value()
    elif not (password or token):
        print_message(f"There is no password for {address}. {_SET_CREDENTIALS}")
        raise SystemExit(NOT_SENT)
    try:
        with Client(address, username, password, token=token) as client:
            yield client
    except CredentialsError as error:
        print_message(f"{error} {_SET_CREDENTIALS}")
        raise SystemExit(NOT_SENT) from None
    except ClientError as error:
        print_message(str(error))
        raise SystemExit(NOT_SENT) from None


def for_each(inputs: Iterable[str], action: Callable[[str], object], *, as_json: bool) -> int:
    """Call `action` once for each different input and return the exit status; a refusal does not stop the others."""
    status = DONE
    for given in dict.fromkeys(inputs):
        try:
            action(given)
        except (CredentialsError, UnreachableError, BrokenPipeError):
            raise
        except (ClientError, OSError) as error:
            if as_json:
                print_result({"input": given, "status": "refused", "error_message": error_text(error)})
            print_message(f"{given}: {error_text(error)}")
            status = SOME_FAILED
    return status


def error_text(error: ClientError | OSError) -> str:
    """What went wrong, as a sentence for people."""
    return f"{error.strerror or error}." if isinstance(error, OSError) else str(error)


def task_line(task: Task) -> str:
    """A task as one line of text."""
    more = [f"({task.position} ahead of it)"] if task.position is not None else []
    more += [task.error_message] if task.error_message else []
    columns = [task.created_at, f"{task.status:10}", f"{task.progress:4.0%}", task.task_uuid, task.audio, *more]
    return "  ".join(columns)


def print_result(result: str | Mapping[str, Any]) -> None:
    """Print a line, or an object as JSON, to stdout."""
    sys.stdout.write((result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def print_message(message: str) -> None:
    """Print a message for people to stderr."""
    sys.stderr.write(f"{message}\n")
