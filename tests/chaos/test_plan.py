"""The same seed gives the same plan, and a plan has the requested numbers of songs and kills."""

from __future__ import annotations

import pytest

from tests.chaos.plan import KILLS, make_plan


def test_the_same_seed_makes_the_same_plan() -> None:
    assert make_plan(7, 30, 12) == make_plan(7, 30, 12)
    assert make_plan(7, 30, 12) != make_plan(8, 30, 12)


def test_everything_is_killed_at_least_once() -> None:
    plan = make_plan(7, 30, 12)
    kills = [disruption.target for disruption in plan.disruptions if disruption.kind == "kill"]
    assert len(kills) == 12
    assert set(kills) == set(KILLS)


def test_songs_of_all_priorities_are_submitted_during_the_disruptions() -> None:
    plan = make_plan(7, 300, 60)
    assert {song.priority for song in plan.songs} == {1, 2, 3, 4, 5}
    assert sum(song.pause_s for song in plan.songs) == pytest.approx(
        sum(disruption.pause_s for disruption in plan.disruptions)
    )
    assert {song.end for song in plan.songs} == {"success", "gone", "not-audio"}
    assert {(song.end, song.is_sent) for song in plan.songs} >= {
        ("success", True),
        ("success", False),
        ("not-audio", True),
    }
