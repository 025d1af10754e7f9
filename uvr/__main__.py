"""Commands for the shell: songs separated without the service, and the service's dead letters."""

from __future__ import annotations

import argparse
import sys

from config import SettingsError, read_settings, refuse_to_start
from uvr import logs
from uvr.commands import dead, separate


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; `arguments` are those of the command line unless given."""
    try:
        settings = read_settings()
    except SettingsError as error:
        refuse_to_start(error.faults)
    logs.configure("error", settings.log_format, process="command")
    parser = argparse.ArgumentParser(prog="python -m uvr", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    separate.add_parser(commands, settings)
    dead.add_parser(commands)
    wanted = parser.parse_args(arguments)
    status: int = wanted.run(wanted, settings)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(130)
