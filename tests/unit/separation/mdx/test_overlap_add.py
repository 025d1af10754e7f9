"""Segmentation and overlap-add, compared with audio-separator's computation on whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.audio import snr_db
from uvr.separation.mdx.overlap_add import Segmentation

SEGMENT, TRIM = 400, 40


def framed(song: np.ndarray, trim: int = TRIM, segment: int = SEGMENT) -> np.ndarray:
    useful = segment - 2 * trim
    behind = useful + trim - song.shape[1] % useful
    return np.pad(song, ((0, 0), (trim, behind + segment)))


def estimates_of(song: np.ndarray, segmentation: Segmentation) -> list[np.ndarray]:
    """Each segment is scaled by its own factor, so a wrong weight changes the result."""
    whole = framed(song)
    starts = [start + TRIM for start in segmentation.starts]
    return [whole[:, start : start + SEGMENT] * (1 + 0.1 * number) for number, start in enumerate(starts)]


def joined_on_whole_arrays(song: np.ndarray) -> np.ndarray:
    whole = framed(song)
    end = whole.shape[1] - SEGMENT
    total, weight = np.zeros((2, end)), np.zeros(end)
    for number, start in enumerate(range(0, end, int(0.75 * SEGMENT))):
        stop = min(start + SEGMENT, end)
        window = np.hanning(stop - start)
        total[:, start:stop] += whole[:, start:stop] * (1 + 0.1 * number) * window
        weight[start:stop] += window
    inside = slice(TRIM, TRIM + song.shape[1])
    return total[:, inside] / weight[inside]


def song_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)


@given(length=st.integers(1, 3000))
def test_joined_segments_equal_overlap_add_on_whole_arrays(length):
    song, segmentation = song_of(length), Segmentation(length, SEGMENT, TRIM)
    joined = np.concatenate(list(segmentation.join(estimates_of(song, segmentation))), axis=1)
    assert joined.shape == song.shape
    assert snr_db(joined_on_whole_arrays(song), joined) > 100


@given(length=st.integers(1, 3000))
def test_no_segment_starts_after_the_song(length):
    assert max(Segmentation(length, SEGMENT, TRIM).starts) < length


def test_samples_are_yielded_as_soon_as_they_are_final():
    segmentation = Segmentation(10 * SEGMENT, SEGMENT, TRIM)
    taken = 0

    def estimates():
        nonlocal taken
        for _ in segmentation.starts:
            taken += 1
            yield np.ones((2, SEGMENT), np.float32)

    given_out = 0
    for block in segmentation.join(estimates()):
        given_out += block.shape[1]
        assert given_out >= min((taken * segmentation.step) - TRIM, segmentation.length)


def test_a_missing_estimate_is_an_error():
    segmentation = Segmentation(1000, SEGMENT, TRIM)
    with pytest.raises(ValueError, match="shorter"):
        list(segmentation.join([np.zeros((2, SEGMENT), np.float32)]))
