"""`python -m uvr retention`: say why old tasks and stems are kept, or delete them after all.

The service stops deleting when a clock may be wrong, and when more than half of everything would be deleted at once
(docs/operations.md). stdout has one line for each reason, or for each thing that was confirmed. The exit status is 0,
or 2 if the command was wrong or Redis did not answer.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from config import Settings, SettingsError, refuse_to_start

DONE, NOT_DONE = 0, 2


def add_parser(commands: Any) -> None:
    """Add `retention` to the commands of an argument parser."""
    parser = commands.add_parser("retention", help="why old tasks and stems are kept", description=__doc__)
    parser.add_argument(
        "action",
        choices=("show", "confirm"),
        help="show the reasons, or confirm that the clocks and settings are right",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Show why things are kept, or confirm that they may be deleted."""
    from redis import RedisError

    from uvr.liveness.workers import live_workers
    from uvr.redis.clients import connect
    from uvr.uploader.housekeeping.clock import HousekeepingClock
    from uvr.uploader.housekeeping.mass_expiry import MassExpiry

    try:
        clients = connect(settings)
    except SettingsError as error:
        refuse_to_start(error.faults)
    client, root = clients.commands, settings.redis_task_queue
    try:
        if options.action == "confirm":
            HousekeepingClock(client, root).trust()
            what = ", ".join(MassExpiry(client, root).confirm())
            lines = [f"The next round deletes what is too old{f': {what}' if what else ''}."]
        else:
            uploaders = live_workers(client, root).get("uploader", [])
            lines = sorted({uploader["retention"] for uploader in uploaders if "retention" in uploader})
    except RedisError as error:
        sys.stderr.write(f"Redis does not answer, or does not accept writes: {error}\n")
        return NOT_DONE
    finally:
        clients.close()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if not lines:
        sys.stderr.write("Nothing is kept longer than it should be, as far as running uploaders know.\n")
    return DONE
