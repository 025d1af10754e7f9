"""`python -m tests.chaos`: one run, one line of figures; exit status 1 if a promise was broken."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.chaos.run import run


def main() -> int:
    """Run, print the figures, and keep the files if a promise was broken."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="uvr-chaos-"))
    _say(f"chaos: seed {options.seed}, files in {folder}")
    outcome = run(folder, options.seed, options.tasks, options.kills)
    _say(f"chaos: {outcome.figures()}")
    if outcome.faults:
        _say(f"{outcome.report()}\nThe logs are in {folder / 'logs'}, and storm.log there lists what was done.")
        return 1
    shutil.rmtree(folder)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
