"""A short run with a new seed each time; `make chaos` does longer ones."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.run import run


@pytest.mark.timeout(300)
def test_no_promise_is_broken_in_a_short_run(tmp_path: Path) -> None:
    outcome = run(tmp_path, seed=SystemRandom().randrange(10**6), tasks=25, kills=10)
    assert not outcome.faults, f"{outcome.figures()}\n{outcome.report()}"
    assert len(outcome.client.accepted) == 25
    assert sum(count for (kind, _), count in outcome.disruptions.items() if kind == "kill") == 10
