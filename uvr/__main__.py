"""Commands for the shell: a client of a running service, songs separated without one, and what operators need."""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up where a package is missing

import argparse
import os
import sys
from io import TextIOWrapper
from typing import cast

from config import VERSION, EnvFileError, Settings, SettingsError, read_settings, read_settings_from, refuse_to_start
from uvr import logs
from uvr.cli import cancel, dead_letters, doctor, separate, status, submit
from uvr.cli import list_tasks as listing


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; `arguments` are those of the command line unless given."""
    wanted = _parser().parse_args(arguments)
    settings = _settings(wanted)
    logs.configure("error", settings.log_format, process="command")
    exit_status: int = wanted.run(wanted, settings)
    return exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m uvr", description=__doc__)
    parser.add_argument("--version", action="version", version=f"uvr-api {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (submit, status, listing, cancel, separate, dead_letters, doctor):
        command.add_parser(commands)
    return parser


def _settings(wanted: argparse.Namespace) -> Settings:
    """The settings; without a .env that cannot be read where the command line says which service is meant."""
    try:
        try:
            return read_settings()
        except EnvFileError as error:
            if not (getattr(wanted, "url", "") or ("url" in wanted and os.environ.get("UVR_URL"))):
                raise
            sys.stderr.write(f"{error}; it is passed over.\n")
            return read_settings_from(None)
    except SettingsError as error:
        refuse_to_start(error.faults)


if __name__ == "__main__":
    try:
        # Names of files may be in any bytes, and are written as they are.
        for stream in (sys.stdout, sys.stderr):
            cast("TextIOWrapper", stream).reconfigure(errors="surrogateescape")
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(130)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try to write the rest at its end
        if isinstance(error, BrokenPipeError):  # whoever reads has seen enough, as `head` has
            sys.exit(141)
        sys.stderr.write(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}.\n")
        sys.exit(2)
