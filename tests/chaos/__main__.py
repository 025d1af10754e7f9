"""`python -m tests.chaos`: one run of failures, and pairs of runs with and without an antisocial user.

Prints a line of figures for each; the exit status is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

from tests.chaos.fairness import run_pair
from tests.chaos.run import run

_TASKS_PER_PAIR = 300


def main() -> int:
    """Run, print the figures, and keep the files of runs that broke a promise."""
    options = _options()
    _say(f"chaos: seed {options.seed}")
    faults = []
    if options.tasks:
        faults += _in_folder(lambda folder: _failures(folder, options))
    for number in range(options.pairs):
        faults += _in_folder(lambda folder: _pair(folder, options.seed + number))  # noqa: B023  # called at once
    return 1 if faults else 0


def _failures(folder: Path, options: argparse.Namespace) -> list[str]:
    outcome = run(folder, options.seed, options.tasks, options.kills)
    _say(f"chaos: {outcome.figures()}")
    return [outcome.report(), "storm.log lists what was done."] if outcome.faults else []


def _pair(folder: Path, seed: int) -> list[str]:
    pair = run_pair(folder, seed, _TASKS_PER_PAIR)
    _say(f"without the antisocial user: {pair.alone.figures()}")
    _say(f"with the antisocial user: {pair.disturbed.figures()}")
    return pair.faults()


def _in_folder(run_in: Callable[[Path], list[str]]) -> list[str]:
    """Run in a new folder, and delete that unless there are faults. Returns the faults."""
    folder = Path(tempfile.mkdtemp(prefix="uvr-chaos-"))
    faults = run_in(folder)
    if faults:
        _say("\n".join([*faults, f"The logs are in {folder}."]))
    else:
        shutil.rmtree(folder)
    return faults


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tasks", type=int, default=300, help="tasks while processes are killed; 0 leaves this out")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=1, help="pairs of runs without and with an antisocial user")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
