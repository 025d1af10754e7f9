"""Which gaps between time stamps become silence, and which are only rounded or wrong time stamps."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from uvr.audio.timeline import Timeline


def silences(
    *frames: tuple[float | None, float],
    start_s: float | None = None,
    clock_may_jump: bool = False,
    max_silence_s: float = 600.0,
) -> tuple[list[float], tuple[str, ...]]:
    """The silence before each frame and the notes; a frame is its start and its length in seconds."""
    timeline = Timeline(start_s, clock_may_jump=clock_may_jump, max_silence_s=max_silence_s)
    pairs = pairwise([*frames, (None, 0.0)])
    return [round(timeline.add(*frame, following[0]), 6) for frame, following in pairs], timeline.notes()


def run(start_s: float, seconds: float, step_s: float = 0.02) -> list[tuple[float, float]]:
    """Consecutive frames of `step_s`."""
    return [(start_s + number * step_s, step_s) for number in range(round(seconds / step_s))]


def test_a_gap_becomes_silence_of_its_length():
    inserted, notes = silences((0.0, 1.0), (3.0, 1.0), (4.0, 1.0))
    assert inserted == [0, 2, 0]
    assert notes == ("The file has no audio for 2.0 s at 0:01; silence was inserted.",)


def test_sound_that_starts_later_than_the_picture_starts_with_silence():
    inserted, notes = silences((11.5, 1.0), (12.5, 1.0), start_s=10.0)
    assert inserted == [1.5, 0]
    assert notes == ("The file has no audio for 1.5 s at 0:00; silence was inserted.",)


@pytest.mark.parametrize("start_s", [None, 11.5, 11.45, 20.0])
def test_sound_that_is_alone_or_first_starts_at_once(start_s):
    assert silences((11.5, 1.0), (12.5, 1.0), start_s=start_s) == ([0, 0], ())


def test_several_gaps_give_one_note():
    _, notes = silences((0.0, 70.0), *run(71.0, 1), *run(72.5, 1))
    assert notes == ("The file has no audio for 1.5 s in 2 places, first at 1:10; silence was inserted.",)


def test_rounded_time_stamps_are_not_gaps():
    frames = [(round(number * 1024 / 44_100, 3), 1024 / 44_100) for number in range(5_000)]
    assert set(silences(*frames)[0]) == {0.0}


def test_a_clock_that_runs_fast_makes_no_gaps():
    frames = [(number * 0.0202, 0.02) for number in range(5_000)]
    assert set(silences(*frames)[0]) == {0.0}


def test_frames_that_share_the_time_stamp_of_their_packet_have_no_gaps():
    frames = [(packet * 2.0, 0.5) for packet in range(10) for _ in range(4)]
    assert set(silences(*frames)[0]) == {0.0}


def test_frames_without_time_stamps_follow_each_other():
    inserted, _ = silences((None, 1.0), (1.0, 1.0), (None, 1.0), (4.0, 1.0))
    assert inserted == [0, 0, 0, 1]


def test_time_stamps_that_go_back_change_nothing():
    assert silences(*run(0, 5), *run(0, 5)) == ([0.0] * 500, ())


def test_time_stamps_that_are_wrong_repeatedly_insert_their_gap_once():
    inserted, _ = silences(*[frame for _ in range(10) for frame in (*run(0.0, 0.1), *run(5.0, 0.1))])
    assert sum(inserted) == pytest.approx(5.0, abs=1)


@pytest.mark.parametrize("factor", [1.5, 10.0, 100.0])
@pytest.mark.parametrize("length_s", [0.023, 0.1, 0.5])
def test_a_clock_with_the_wrong_speed_makes_no_silence(factor, length_s):
    inserted, notes = silences(*[(number * length_s * factor, length_s) for number in range(200)])
    assert set(inserted) == {0.0}
    within_jitter = length_s * (factor - 1) <= 0.1
    assert notes == (
        () if within_jitter else ("Some of the file's time stamps do not match its audio; they were ignored.",)
    )


def test_a_single_wrong_time_stamp_makes_no_silence():
    inserted, _ = silences(*run(0, 1), (500.0, 0.02), *run(1.02, 1))
    assert set(inserted) == {0.0}


def test_clocks_that_may_jump_make_no_long_silence():
    frames = [*run(0, 1), *run(9.0, 1), *run(3600.0, 1)]
    inserted, notes = silences(*frames, clock_may_jump=True)
    assert [gap for gap in inserted if gap] == [8.0]
    assert notes[1] == "The file's time stamps skip 3590.0 s at 0:10; no silence was inserted."


def test_silence_never_exceeds_the_limit():
    inserted, notes = silences(*run(0, 1), *run(7, 1), *run(14, 1), *run(17, 1), max_silence_s=10.0)
    assert [gap for gap in inserted if gap] == [6, 2]
    assert notes[1] == "The file's time stamps skip 6.0 s at 0:08; no silence was inserted."


def test_without_a_limit_silence_is_at_most_an_hour():
    inserted, _ = silences(*run(0, 1), *run(3_000, 1), *run(6_000, 1), *run(1e12, 1), max_silence_s=math.inf)
    assert sum(inserted) == 2_999.0
