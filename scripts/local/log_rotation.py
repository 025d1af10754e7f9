"""Keeps the logs of the local processes small: `python -m scripts.local.log_rotation FOLDER` runs along with them.

A log that has grown too large is copied to {name}.log.1 and emptied in place, because its process has it open and
writes on at its end; older copies move on by one, and the oldest is deleted. A line that is written between the last
byte copied and the emptying is lost. It is a process of its own, so that it goes on while the service waits for Redis,
which is when logs grow.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

MAX_BYTES = 20 * 2**20
KEPT = 5
_EVERY_S = 10.0


def rotate(log: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Put what stands in `log` into a numbered copy if it is more than `max_bytes`; whether it was."""
    if log.stat().st_size <= max_bytes:
        return False
    copies = [log.with_name(f"{log.name}.{number}") for number in range(1, kept + 1)]
    for older, newer in zip(reversed(copies), reversed(copies[:-1]), strict=False):
        if newer.exists():
            newer.replace(older)
    with log.open("rb+") as source, copies[0].open("wb") as target:
        shutil.copystat(log, copies[0])
        shutil.copyfileobj(source, target)
        source.truncate(0)
    return True


def main() -> None:
    """Look at all logs in the folder that the first argument names, until the process is stopped."""
    folder = Path(sys.argv[1])
    while True:
        for log in folder.glob("*.log"):
            try:
                rotate(log)
            except OSError as error:
                print(f"{log} could not be rotated: {error.strerror}", flush=True)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()
