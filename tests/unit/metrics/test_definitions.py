"""Metrics count into the right series and bucket, from any thread, and never raise an exception."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from uvr.metrics.definitions import ABOVE, METRICS, SUM, UNSENT, Counter, Histogram, Sums

TRIES = Counter("tries_total", "Tries.", {"outcome": ("good", "bad"), "host": ()})
SECONDS = Histogram("seconds", "Time.", bounds=(0.5, 1.0, 5.0))

pytestmark = pytest.mark.usefixtures("nothing_counted")


def test_counts_add_up_by_labels() -> None:
    TRIES.add(outcome="good", host="a")
    TRIES.add(2, outcome="good", host="a")
    TRIES.add(host="a", outcome="bad")
    assert UNSENT.take() == {("tries_total", "", "good", "a"): 3, ("tries_total", "", "bad", "a"): 1}


def test_sums_can_be_taken_only_once() -> None:
    TRIES.add(outcome="good", host="a")
    UNSENT.take()
    assert UNSENT.take() == {}


@pytest.mark.parametrize(("value", "bound"), [(0, "0.5"), (0.5, "0.5"), (0.51, "1.0"), (5, "5.0"), (5.1, ABOVE)])
def test_a_value_falls_into_the_smallest_bucket_that_holds_it(value: float, bound: str) -> None:
    SECONDS.observe(value)
    assert UNSENT.take() == {("seconds", bound): 1, ("seconds", SUM): value}


def test_a_missing_label_is_no_error() -> None:
    TRIES.add(outcome="good")
    assert UNSENT.take() == {("tries_total", "", "good", ""): 1}


def test_threads_lose_no_count() -> None:
    sums = Sums()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: sums.add({("n", ""): 1}), range(4000)))
    assert sums.take() == {("n", ""): 4000}


def test_series_with_known_label_values_exist_from_the_start() -> None:
    assert Counter("a_total", "A.").label_combinations() == [()]
    assert Counter("a_total", "A.", {"of": ("x", "y"), "by": ("z",)}).label_combinations() == [("x", "z"), ("y", "z")]
    assert TRIES.label_combinations() == []


def test_names_follow_the_rules_of_prometheus() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)) >= 10
    for metric in METRICS:
        assert re.fullmatch(r"uvr_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == isinstance(metric, Counter)
        assert not isinstance(metric, Histogram) or list(metric.bounds) == sorted(set(metric.bounds)) != []
