"""Limits the size of the local logs; `python -m scripts.local.log_rotation FOLDER` runs as long as the service.

A log that is too large is copied to {name}.log.1 and truncated in place, because its process keeps it open and appends
to it. Older copies get the next number, and the oldest is deleted. A line that is written between copying and
truncating is lost. This is a separate process so that it also works while the service waits for Redis, which is when
logs grow. docs/decisions/0017-logs-rotate-in-a-separate-process.md gives the reasons.
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
    """Move the content of `log` to a numbered copy if it is larger than `max_bytes`; returns whether it was."""
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
    """Check all logs in the folder in the first argument, until the process is stopped."""
    folder = Path(sys.argv[1])
    while True:
        for log in folder.glob("*.log"):
            try:
                rotate(log)
            except OSError as error:
                print(f"{log} cannot be rotated: {error.strerror}", flush=True)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()
