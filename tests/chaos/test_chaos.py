"""A short storm with a new seed each time; `make chaos` has the long ones."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.run import run


@pytest.mark.timeout(300)
def test_nothing_is_lost_in_a_short_storm(tmp_path: Path) -> None:
    outcome = run(tmp_path, seed=SystemRandom().randrange(10**6), tasks=25, kills=10)
    assert not outcome.faults, f"{outcome.figures()}\n{outcome.report()}"
    assert len(outcome.client.accepted) == 25
    assert sum(count for (trouble, _), count in outcome.blows.items() if trouble == "kill") == 10
