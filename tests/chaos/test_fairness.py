"""The comparison of two runs finds what it is there for."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.fairness import Experience, Pair


def felt(waits_s: Sequence[float], health_s: Sequence[float] = (0.1, 0.1), lost: Sequence[str] = ()) -> Experience:
    return Experience(waits_s, health_s, lost, {})


def test_a_pair_with_nearly_equal_waits_has_no_faults() -> None:
    assert Pair(felt([1, 2, 3]), felt([2, 3, 4])).faults() == []


def test_waits_of_more_than_twice_are_faults() -> None:
    faults = Pair(felt([1, 1, 1]), felt([1, 1, 2.1])).faults()
    assert faults[-1] == "the longest time from POST to webhook is 2.10 times as long"


def test_a_slow_health_check_is_a_fault() -> None:
    assert Pair(felt([1, 1]), felt([1, 1], health_s=[0.1, 1.2])).faults() == ["/health took 1.20 s"]


def test_a_lost_task_is_a_fault_in_either_run() -> None:
    assert Pair(felt([1, 1], lost=["anna-1"]), felt([1, 1], lost=["bert-2"])).faults() == [
        "lost: anna-1",
        "lost: bert-2",
    ]
