"""`python -m uvr revoke-links`: make all links to local stems invalid, for example after one has leaked."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any

from config import Settings, SettingsError, refuse_to_start

DONE, NOT_DONE = 0, 2


def add_parser(commands: Any) -> None:
    """Add `revoke-links` to the commands of an argument parser."""
    parser = commands.add_parser("revoke-links", help="make all links to local stems invalid", description=__doc__)
    parser.set_defaults(run=revoke)


def revoke(_options: argparse.Namespace, settings: Settings) -> int:
    """Replace the key that signs links. The exit status is 2 if Redis does not answer or links lead to a bucket."""
    from redis import RedisError

    from uvr.redis.clients import connect
    from uvr.storage.link_key import KEPT_S, LinkKey

    if settings.s3_bucket_name:
        sys.stderr.write("Links lead to the bucket, which checks them: replace its access key to revoke them.\n")
        return NOT_DONE
    try:
        with closing(connect(settings)) as clients:
            LinkKey(clients.commands, settings.redis_task_queue).replace()
    except SettingsError as error:
        refuse_to_start(error.faults)
    except RedisError as error:
        sys.stderr.write(f"Redis does not answer, or does not accept writes: {error}\n")
        return NOT_DONE
    sys.stdout.write(f"All links made until now are invalid in {KEPT_S:g} s; GET /tasks/ID has new ones.\n")
    return DONE
