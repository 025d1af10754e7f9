"""When time stamps mean silence, and when they only mean time stamps."""

from __future__ import annotations

import math

import pytest

from uvr.audio.timeline import Timeline


def silences(
    *frames: tuple[float | None, float],
    begins_s: float | None = None,
    may_jump: bool = False,
    allowed_s: float = 600.0,
) -> tuple[list[float], tuple[str, ...]]:
    """The silence before each frame, of which start and length are given, and the notes."""
    timeline = Timeline(begins_s, may_jump, allowed_s)
    return [round(timeline.add(*frame), 6) for frame in frames], timeline.notes()


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
    _, notes = silences((0.0, 70.0), (71.0, 1.0), (72.5, 1.0))
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


def test_a_time_stamp_that_is_wrong_again_and_again_costs_its_gap_once():
    inserted, _ = silences(*[frame for _ in range(10) for frame in ((0.0, 0.02), (5.0, 0.02))])
    assert sum(inserted) == pytest.approx(5.0, abs=0.2)


def test_clocks_that_may_jump_make_no_long_silence():
    frames = [*run(0, 1), *run(9.0, 1), *run(3600.0, 1)]
    inserted, notes = silences(*frames, may_jump=True)
    assert [gap for gap in inserted if gap] == [8.0]
    assert notes[1] == "The file's clock goes on without sound for 3590.0 s, at 0:10; the stems have no pause there."


def test_silence_never_exceeds_what_is_allowed():
    inserted, notes = silences((0.0, 1.0), (7.0, 1.0), (14.0, 1.0), (17.0, 1.0), allowed_s=10.0)
    assert inserted == [0, 6, 0, 2]
    assert notes[1] == "The file's clock goes on without sound for 6.0 s, at 0:08; the stems have no pause there."


def test_without_a_limit_no_file_makes_more_than_an_hour_of_silence():
    inserted, _ = silences((0.0, 1.0), (3_000.0, 1.0), (6_000.0, 1.0), (1e15, 1.0), allowed_s=math.inf)
    assert sum(inserted) == 2_999.0
