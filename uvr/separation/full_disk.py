"""A full disk as a transient error: the song is not at fault, and a later attempt may succeed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from uvr.errors import TransientError


@contextmanager
def full_disk_as_transient() -> Iterator[None]:
    """Raise `TransientError` instead of the `OSError` for a full disk or an exhausted quota."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise TransientError("The disk is full; the song can be separated once there is space.") from error
