"""When time stamps mean silence, and when they only mean time stamps."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from uvr.audio.timeline import Timeline


def silences(
    *frames: tuple[float | None, float],
    begins_s: float | None = None,
    may_jump: bool = False,
    allowed_s: float = 600.0,
) -> tuple[list[float], tuple[str, ...]]:
    """The silence before each frame, of which start and length are given, and the notes."""
    timeline = Timeline(begins_s, may_jump=may_jump, allowed_s=allowed_s)
    pairs = pairwise([*frames, (None, 0.0)])
    return [round(timeline.add(*frame, following[0]), 6) for frame, following in pairs], timeline.notes()


def run(start_s: float, seconds: float, step_s: float = 0.02) -> list[tuple[float, float]]:
    """Frames of `step_s`, one behind the other."""
    return [(start_s + number * step_s, step_s) for number in range(round(seconds / step_s))]


def test_a_gap_becomes_silence_of_its_length():
    inserted, notes = silences((0.0, 1.0), (3.0, 1.0), (4.0, 1.0))
    assert inserted == [0, 2, 0]
    assert notes == ("The file has no sound for 2.0 s, at 0:01; silence stands there.",)


def test_sound_that_begins_later_than_the_picture_begins_with_silence():
    inserted, notes = silences((11.5, 1.0), (12.5, 1.0), begins_s=10.0)
    assert inserted == [1.5, 0]
    assert notes == ("The file has no sound for 1.5 s, at 0:00; silence stands there.",)


@pytest.mark.parametrize("begins_s", [None, 11.5, 11.45, 20.0])
def test_sound_that_is_alone_or_first_begins_at_once(begins_s):
    assert silences((11.5, 1.0), (12.5, 1.0), begins_s=begins_s) == ([0, 0], ())


def test_several_gaps_are_told_in_one_sentence():
    _, notes = silences((0.0, 70.0), *run(71.0, 1), *run(72.5, 1))
    assert notes == ("The file has no sound for 1.5 s in 2 places, first at 1:10; silence stands there.",)


def test_rounded_time_stamps_are_no_gaps():
    frames = [(round(number * 1024 / 44_100, 3), 1024 / 44_100) for number in range(5_000)]
    assert set(silences(*frames)[0]) == {0.0}


def test_a_clock_that_runs_fast_leaves_no_holes_in_the_sound():
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


def test_time_stamps_that_are_wrong_again_and_again_cost_their_gap_once():
    inserted, _ = silences(*[frame for _ in range(10) for frame in (*run(0.0, 0.1), *run(5.0, 0.1))])
    assert sum(inserted) == pytest.approx(5.0, abs=1)


@pytest.mark.parametrize("factor", [1.5, 10.0, 100.0])
@pytest.mark.parametrize("length_s", [0.023, 0.1, 0.5])
def test_a_clock_that_runs_wrong_makes_no_silence(factor, length_s):
    inserted, notes = silences(*[(number * length_s * factor, length_s) for number in range(200)])
    assert set(inserted) == {0.0}
    followed = length_s * (factor - 1) <= 0.1
    assert notes == (
        () if followed else ("Some of the file's time stamps do not fit its sound; those were not followed.",)
    )


def test_one_time_stamp_that_is_wrong_makes_no_silence():
    inserted, _ = silences(*run(0, 1), (500.0, 0.02), *run(1.02, 1))
    assert set(inserted) == {0.0}


def test_clocks_that_may_jump_make_no_long_silence():
    frames = [*run(0, 1), *run(9.0, 1), *run(3600.0, 1)]
    inserted, notes = silences(*frames, may_jump=True)
    assert [gap for gap in inserted if gap] == [8.0]
    assert notes[1] == "The file's clock goes on without sound for 3590.0 s, at 0:10; the stems have no pause there."


def test_silence_never_exceeds_what_is_allowed():
    inserted, notes = silences(*run(0, 1), *run(7, 1), *run(14, 1), *run(17, 1), allowed_s=10.0)
    assert [gap for gap in inserted if gap] == [6, 2]
    assert notes[1] == "The file's clock goes on without sound for 6.0 s, at 0:08; the stems have no pause there."


def test_without_a_limit_no_file_makes_more_than_an_hour_of_silence():
    inserted, _ = silences(*run(0, 1), *run(3_000, 1), *run(6_000, 1), *run(1e12, 1), allowed_s=math.inf)
    assert sum(inserted) == 2_999.0
