"""Runs an entry point on a machine whose clock is wrong: `python -m tests.support.wrong_clock SECONDS uploader.py`.

The clock of the process is SECONDS ahead, or behind if negative. Files that it writes get the right time.
"""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    """Set the clock, then run the entry point as `python` would."""
    ahead_s, entry_point = float(sys.argv[1]), sys.argv[2]
    right_time = time.time
    time.time = lambda: right_time() + ahead_s
    sys.argv = sys.argv[2:]
    runpy.run_path(entry_point, run_name="__main__")


if __name__ == "__main__":
    main()
