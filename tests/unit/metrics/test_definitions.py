"""What is counted: into the right bucket, whoever counts at the same time, and never at the cost of an exception."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from uvr.metrics.definitions import ABOVE, METRICS, SUM, UNSEEN, Counter, Histogram, Sums

TRIES = Counter("tries_total", "Tries.", {"outcome": ("good", "bad"), "host": ()})
SECONDS = Histogram("seconds", "Time.", bounds=(0.5, 1.0, 5.0))

pytestmark = pytest.mark.usefixtures("nothing_counted")


def test_counts_add_up_by_labels() -> None:
    TRIES.add(outcome="good", host="a")
    TRIES.add(2, outcome="good", host="a")
    TRIES.add(host="a", outcome="bad")
    assert UNSEEN.take() == {("tries_total", "", "good", "a"): 3, ("tries_total", "", "bad", "a"): 1}


def test_what_was_taken_is_not_taken_again() -> None:
    TRIES.add(outcome="good", host="a")
    UNSEEN.take()
    assert UNSEEN.take() == {}


@pytest.mark.parametrize(("value", "bound"), [(0, "0.5"), (0.5, "0.5"), (0.51, "1.0"), (5, "5.0"), (5.1, ABOVE)])
def test_a_value_falls_into_the_smallest_bucket_that_holds_it(value: float, bound: str) -> None:
    SECONDS.observe(value)
    assert UNSEEN.take() == {("seconds", bound): 1, ("seconds", SUM): value}


def test_a_label_that_was_forgotten_costs_no_task() -> None:
    TRIES.add(outcome="good")
    assert UNSEEN.take() == {("tries_total", "", "good", ""): 1}


def test_threads_lose_no_count() -> None:
    sums = Sums()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: sums.add({("n", ""): 1}), range(4000)))
    assert sums.take() == {("n", ""): 4000}


def test_labels_known_beforehand_give_the_series_that_are_there_from_the_start() -> None:
    assert Counter("a_total", "A.").known_values() == [()]
    assert Counter("a_total", "A.", {"of": ("x", "y"), "by": ("z",)}).known_values() == [("x", "z"), ("y", "z")]
    assert TRIES.known_values() == []


def test_names_are_those_of_prometheus() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)) >= 10
    for metric in METRICS:
        assert re.fullmatch(r"uvr_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == isinstance(metric, Counter)
        assert not isinstance(metric, Histogram) or list(metric.bounds) == sorted(set(metric.bounds)) != []
