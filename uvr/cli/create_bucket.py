"""`python -m uvr create-bucket`: create the bucket of the settings, for a storage server of one's own such as MinIO."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from config import Settings
from uvr.errors import UvrError

DONE, NOT_DONE = 0, 2


def add_parser(commands: Any) -> None:
    """Add `create-bucket` to the commands of an argument parser."""
    parser = commands.add_parser("create-bucket", help="create S3_BUCKET_NAME if it is missing", description=__doc__)
    parser.set_defaults(run=create)


def create(_options: argparse.Namespace, settings: Settings) -> int:
    """Create a private bucket unless it exists. The exit status is 2 if there is none afterwards."""
    from uvr.storage.factory import open_bucket

    name = settings.s3_bucket_name
    if not name:
        sys.stderr.write("S3_BUCKET_NAME is not set: give the bucket a name in .env.\n")
        return NOT_DONE
    try:
        is_new = open_bucket(settings).create_bucket()
    except UvrError as error:
        sys.stderr.write(f"The bucket {name} could not be created: {error.message}\n")
        return NOT_DONE
    sys.stdout.write(f"The bucket {name} {'was created' if is_new else 'exists already'}.\n")
    return DONE
