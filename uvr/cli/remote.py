"""What the commands for a running service share: where it is, who asks, and how they end.

Promises to scripts: stdout has what was asked for and nothing else; with --json that is one object for each song or id
of the command line, the task as the service tells it and the `input` it belongs to. The exit status is 0 when all was
done, 1 when some of it failed or was refused, and 2 when the command was wrong, the service did not answer, or it took
no credentials.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from config import Settings
from uvr.client import Client, ClientError, CredentialsError, Task, UnreachableError

DONE, SOME_FAILED, NOT_ASKED = 0, 1, 2

ABOUT = """What was asked for goes to stdout, remarks go to stderr. The exit status is 0 when all was done, 1 when some
of it failed or was refused, 2 when the command was wrong, the service did not answer, or it took no credentials."""


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Add what all commands for a running service take."""
    parser.add_argument(
        "--url", default="", help="the service's address; default: UVR_URL, or the service of this .env"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each task")


def with_service(wanted: argparse.Namespace, settings: Settings, action: Callable[[Client], int]) -> int:
    """The exit status of `action`, which gets a client of the service that is meant."""
    try:
        with _client(wanted.url, settings) as client:
            return action(client)
    except CredentialsError as error:
        say(f"{error} Set UVR_USERNAME and UVR_PASSWORD in the environment or in .env.")
    except ClientError as error:
        say(str(error))
    return NOT_ASKED


def for_each(inputs: Iterable[str], step: Callable[[str], object], *, as_json: bool) -> int:
    """Do `step` for each input once; one that is refused does not keep the others from it."""
    status = DONE
    for given in dict.fromkeys(inputs):
        try:
            step(given)
        except (CredentialsError, UnreachableError, BrokenPipeError):
            raise
        except (ClientError, OSError) as error:
            if as_json:
                tell({"input": given, "status": "refused", "error_message": sentence(error)})
            say(f"{given}: {sentence(error)}")
            status = SOME_FAILED
    return status


def sentence(error: ClientError | OSError) -> str:
    """What went wrong, for people."""
    return f"{error.strerror or error}." if isinstance(error, OSError) else str(error)


def task_line(task: Task) -> str:
    """One task on a line."""
    more = [f"({task.position} before it)"] if task.position is not None else []
    more += [task.error_message] if task.error_message else []
    facts = [task.created_at, f"{task.status:10}", f"{task.progress:4.0%}", task.task_uuid, task.audio, *more]
    return "  ".join(facts)


def tell(what: str | Mapping[str, Any]) -> None:
    """Print a line, or an object as JSON."""
    sys.stdout.write((what if isinstance(what, str) else json.dumps(what, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def say(remark: str) -> None:
    """Print what is for people only."""
    sys.stderr.write(f"{remark}\n")


def _client(url: str, settings: Settings) -> Client:
    """The password of the service in .env is for that service alone, not for any other address."""
    address = (url or settings.uvr_url or settings.local_url).rstrip("/")
    username = settings.uvr_username or settings.basic_auth_username
    password = settings.uvr_password.get_secret_value()
    if not password and address in (settings.local_url, settings.base_url):
        return Client(address, username, settings.basic_auth_password.get_secret_value())
    if not password:
        raise CredentialsError(f"There is no password for {address}.", status=401)
    return Client(address, username, password)
