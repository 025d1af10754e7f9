"""The queueing formulas give the values of published tables, and those of a simulation."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from bench.queueing import DAY_S, Song, erlang_c, ideal_waits_s, processors_for, tail_s, waits_s


@pytest.mark.parametrize(
    ("processors", "load", "probability"),
    [  # closed forms for one and two servers, and entries of Erlang C tables
        (1, 0.7, 0.7),
        (2, 1.0, 1 / 3),
        (3, 2.0, 4 / 9),
        (5, 4.0, 0.5541),
        (10, 8.0, 0.4092),
        (20, 15.0, 0.1604),
        (100, 90.0, 0.2169),
    ],
)
def test_erlang_c_agrees_with_tables(processors: int, load: float, probability: float) -> None:
    assert erlang_c(processors, load) == pytest.approx(probability, abs=5e-5)


def test_erlang_c_is_1_for_a_load_that_cannot_be_carried() -> None:
    assert erlang_c(4, 4.0) == 1.0
    assert erlang_c(4, 9.0) == 1.0


def test_thousands_of_processors_need_no_factorials() -> None:
    assert 0 < erlang_c(8000, 7900.0) < 1


def test_one_server_without_priorities_is_the_formula_of_pollaczek_and_khinchin() -> None:
    """The wait is load / (1 - load) * S * (1 + cv^2) / 2."""
    assert waits_s(1, 2.0, {3: 0.4}) == {3: pytest.approx(8.0)}
    assert waits_s(1, 2.0, {3: 0.4}, variation=0.0) == {3: pytest.approx(4.0)}


def test_two_priorities_on_one_server_agree_with_cobham() -> None:
    # Loads 0.3 and 0.5, S = 1: W_0 = 0.8, W_1 = 0.8 / 0.7, W_2 = 0.8 / (0.7 * 0.2)
    assert waits_s(1, 1.0, {5: 0.3, 1: 0.5}) == {5: pytest.approx(0.8 / 0.7), 1: pytest.approx(0.8 / 0.14)}


def test_priorities_change_who_waits_and_not_how_much_is_waited() -> None:
    shares = {5: 0.2, 3: 0.6, 1: 0.2}
    arrivals = {priority: 7.0 * share for priority, share in shares.items()}
    apart, together = waits_s(8, 1.0, arrivals), waits_s(8, 1.0, {3: 7.0})
    assert sum(shares[priority] * wait for priority, wait in apart.items()) == pytest.approx(together[3])


def test_an_overload_is_carried_by_the_lowest_priority_alone() -> None:
    found = waits_s(4, 1.0, {5: 2.0, 1: 3.0})
    assert found[5] == pytest.approx(0.25 / 0.5)
    assert math.isinf(found[1])


def test_the_tail_of_one_server_is_exponential() -> None:
    # M/M/1 with load 0.5, S = 1: P(wait > t) = 0.5 exp(-t / 2), so P = 0.05 at t = 2 ln 10
    assert tail_s(1.0, 0.5) == pytest.approx(2 * math.log(10))
    assert tail_s(0.01, 0.04) == 0.0


def test_the_fewest_processors_keep_the_wait_and_one_less_does_not() -> None:
    arrivals, targets = {5: 1_000 / DAY_S, 3: 9_000 / DAY_S}, {5: 30.0, 3: 300.0}
    count = processors_for(60.0, arrivals, targets, variation=0.4)

    def keeps(processors: int) -> bool:
        found = waits_s(processors, 60.0, arrivals, variation=0.4)
        return all(found[priority] <= target for priority, target in targets.items())

    assert keeps(count)
    assert not keeps(count - 1)


def test_an_ideal_queue_serves_the_highest_priority_first_and_interrupts_none() -> None:
    songs = [Song(0.0, 1, 10.0), Song(1.0, 1, 5.0), Song(2.0, 5, 5.0), Song(40.0, 3, 1.0)]
    assert ideal_waits_s(1, songs) == [0.0, 14.0, 8.0, 0.0]
    assert ideal_waits_s(2, songs) == [0.0, 0.0, 4.0, 0.0]


def test_formula_and_simulation_agree() -> None:
    generator, now, songs = random.Random(1), 0.0, []
    arrivals = {5: 1.4, 3: 4.0, 1: 1.4}  # load 0.85 on eight processors
    for _ in range(100_000):
        now += generator.expovariate(sum(arrivals.values()))
        priority = generator.choices([*arrivals], [*arrivals.values()])[0]
        songs.append(Song(now, priority, generator.expovariate(1.0)))
    waits = ideal_waits_s(8, songs)
    for priority, expected in waits_s(8, 1.0, arrivals).items():
        mean = statistics.mean(wait for wait, song in zip(waits, songs, strict=True) if song.priority == priority)
        assert mean == pytest.approx(expected, rel=0.1)
