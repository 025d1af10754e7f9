"""What other programs on this machine may see of a process of the service: as little as possible.

Songs, stems and logs belong to the service alone, and so do the passwords in its environment.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_DUMPABLE = 4


def keep_private(umask: int) -> None:
    """Create files with `umask` from now on, and hide the environment and memory of this process.

    On Linux, other processes of the same user could read both below /proc, and decoders of clients' files are such
    processes. Root still can. Children that run another program begin visible again.
    """
    os.umask(umask)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def make_private_folder(path: Path) -> None:
    """Make `path` a folder that belongs to this user alone, if it is not yet one.

    Raises `OSError` if it is a link, belongs to another user, or if others could replace it.
    """
    parent = path.parent.stat().st_mode
    if parent & stat.S_IWOTH and not parent & stat.S_ISVTX:
        raise PermissionError(errno.EPERM, "others may replace it", str(path))
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
        os.fchmod(folder, 0o700)
    finally:
        os.close(folder)
