"""Plans are the same for the same seed, and have what they are asked for."""

from __future__ import annotations

import pytest

from tests.chaos.plan import KILLS, make_plan


def test_the_same_seed_makes_the_same_plan() -> None:
    assert make_plan(7, 30, 12) == make_plan(7, 30, 12)
    assert make_plan(7, 30, 12) != make_plan(8, 30, 12)


def test_everything_is_killed_at_least_once() -> None:
    plan = make_plan(7, 30, 12)
    kills = [blow.target for blow in plan.blows if blow.trouble == "kill"]
    assert len(kills) == 12
    assert set(kills) == set(KILLS)


def test_songs_of_all_priorities_come_while_blows_fall() -> None:
    plan = make_plan(7, 300, 60)
    assert {song.priority for song in plan.songs} == {1, 2, 3, 4, 5}
    assert sum(song.pause_s for song in plan.songs) == pytest.approx(sum(blow.pause_s for blow in plan.blows))
    assert {song.end for song in plan.songs} == {"success", "gone", "not-audio"}
    assert {(song.end, song.is_sent) for song in plan.songs} >= {
        ("success", True),
        ("success", False),
        ("not-audio", True),
    }
