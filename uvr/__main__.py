"""Commands for the shell: a client of a running service, songs separated without one, and what operators need."""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up where a package is missing

import argparse
import os
import sys

from config import SettingsError, read_settings, refuse_to_start
from uvr import logs
from uvr.commands import cancel, dead, doctor, separate, status, submit
from uvr.commands import list as listing


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; `arguments` are those of the command line unless given."""
    try:
        settings = read_settings()
    except SettingsError as error:
        refuse_to_start(error.faults)
    logs.configure("error", settings.log_format, process="command")
    parser = argparse.ArgumentParser(prog="python -m uvr", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for client_command in (submit, status, listing, cancel):
        client_command.add_parser(commands)
    separate.add_parser(commands, settings)
    dead.add_parser(commands)
    doctor.add_parser(commands)
    wanted = parser.parse_args(arguments)
    exit_status: int = wanted.run(wanted, settings)
    return exit_status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(130)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try to write the rest at its end
        if isinstance(error, BrokenPipeError):  # whoever reads has seen enough, as `head` has
            sys.exit(141)
        sys.stderr.write(f"{error.strerror or error}.\n")
        sys.exit(2)
