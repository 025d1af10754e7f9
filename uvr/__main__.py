"""`python -m uvr`: a client for a running service, songs separated without one, and tools for operators."""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up if a package is missing

import argparse
import os
import sys
from io import TextIOWrapper
from typing import cast

from config import VERSION, EnvFileError, Settings, SettingsError, read_settings, read_settings_from, refuse_to_start
from uvr import logs
from uvr.cli import (
    cancel,
    create_bucket,
    dead_letters,
    doctor,
    list_tasks,
    priority,
    retention,
    revoke_links,
    separate,
    status,
    submit,
    users,
    webhook_secret,
)

_COMMANDS = (
    submit,
    status,
    list_tasks,
    priority,
    cancel,
    webhook_secret,
    separate,
    dead_letters,
    users,
    retention,
    revoke_links,
    create_bucket,
    doctor,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; `arguments` default to those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m uvr", description=__doc__)
    parser.add_argument("--version", action="version", version=f"uvr-api {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    settings = _read_settings(options)
    logs.configure("error", settings.log_format, process="command")
    exit_status: int = options.run(options, settings)
    return exit_status


def _read_settings(options: argparse.Namespace) -> Settings:
    """The settings of this checkout.

    A .env that cannot be read is ignored if `--url` or UVR_URL says which service to use, because such a command needs
    no other setting.
    """
    try:
        try:
            return read_settings()
        except EnvFileError as error:
            has_address = "url" in options and (options.url or os.environ.get("UVR_URL"))
            if not has_address:
                raise
            sys.stderr.write(f"{error}; the file is ignored.\n")
            return read_settings_from(None)
    except SettingsError as error:
        refuse_to_start(error.faults)


if __name__ == "__main__":
    try:
        # File names may consist of any bytes; they are printed unchanged.
        for stream in (sys.stdout, sys.stderr):
            cast("TextIOWrapper", stream).reconfigure(errors="surrogateescape")
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(130)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try to flush the rest at exit
        if isinstance(error, BrokenPipeError):  # the reader has closed the pipe, as `head` does
            sys.exit(141)
        sys.stderr.write(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}.\n")
        sys.exit(2)
