"""A disk without room, told as what it is: trouble that passes, and no fault of the song's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from uvr.errors import TransientError


@contextmanager
def full_disk_as_transient() -> Iterator[None]:
    """Raise `TransientError` in place of the system's error for a disk, or a quota, that is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise TransientError("The disk is full; the song can be separated once there is room.") from error
