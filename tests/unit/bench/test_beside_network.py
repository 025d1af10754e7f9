"""Each moment of a song counts for one class of work: that of the innermost function that runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bench.beside_network import NETWORK, PLACES, Clock, table, timed


def test_every_function_that_is_timed_exists() -> None:
    assert all(callable(getattr(owner, place)) for owner, place, _ in PLACES)


def test_time_inside_of_another_class_counts_once() -> None:
    clock = Clock()
    inner = clock.around(lambda: time.sleep(0.05), "inner")
    started = time.perf_counter()
    clock.around(lambda: (time.sleep(0.02), inner(), inner()), "outer")()
    wall_s = time.perf_counter() - started
    assert clock.wall_s["inner"] >= 0.1
    assert clock.wall_s["outer"] >= 0.02
    assert sum(clock.wall_s.values()) == pytest.approx(wall_s, abs=0.01)


def test_a_generator_counts_while_it_runs_only() -> None:
    def blocks() -> Iterator[int]:
        yield 1
        yield 2

    clock = Clock()
    found = []
    for block in clock.around(blocks, "decode")():
        time.sleep(0.05)
        found.append(block)
    assert found == [1, 2]
    assert clock.wall_s["decode"] < 0.05


def test_an_error_ends_the_time_of_its_function() -> None:
    clock = Clock()

    def fail() -> None:
        raise ValueError("no")

    def caught() -> None:
        with pytest.raises(ValueError, match="no"):
            clock.around(fail, "inner")()
        time.sleep(0.03)

    clock.around(caught, "outer")()
    assert clock.wall_s["outer"] >= 0.03 > clock.wall_s["inner"]


def test_class_methods_stay_class_methods() -> None:
    class Owner:
        @classmethod
        def name(cls) -> str:
            return cls.__name__

    Owner.name = timed(Owner.__dict__["name"], "name", Clock())  # type: ignore[method-assign]
    assert Owner.name() == "Owner"


def test_shares_at_twice_the_speed_are_those_of_a_faster_network() -> None:
    clock = Clock({NETWORK: 9.6, "decode": 0.3, "encode": 0.1}, {NETWORK: 19.0, "decode": 0.3, "encode": 0.1})
    assert table(clock)[2:] == [
        "| network | 9600.0 | 19000.0 | 96.00% | 92.31% |",
        "| decode | 300.0 | 300.0 | 3.00% | 5.77% |",
        "| encode | 100.0 | 100.0 | 1.00% | 1.92% |",
        "| all beside the network | 400.0 | 400.0 | 4.00% | 7.69% |",
    ]
