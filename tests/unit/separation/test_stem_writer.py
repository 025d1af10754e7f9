"""The names of stems, and their common gain."""

from __future__ import annotations

import numpy as np
import pytest

from uvr.audio.format import SampleFormat
from uvr.models.catalogue import stem_pair
from uvr.separation.stem_writer import common_gain


@pytest.mark.parametrize(
    ("primary_stem", "names"),
    [
        ("Vocals", ("vocals", "instrumental")),
        ("Instrumental", ("instrumental", "vocals")),
        ("Drums", ("drums", "no_drums")),
        ("Lead Vocals", ("lead_vocals", "no_lead_vocals")),
    ],
)
def test_stems_are_named_after_the_primary_one(primary_stem, names):
    assert stem_pair(primary_stem) == names


def stems(**samples: list[float]):
    return {name: lambda values=values: iter([np.array([values], np.float32)]) for name, values in samples.items()}


def test_one_stem_that_would_clip_lowers_the_gain_of_all_stems():
    gain = common_gain(stems(vocals=[0.1, -0.2], instrumental=[0.5, -1.25]), SampleFormat.INT16.max_sample)
    assert gain == pytest.approx(0.8)


@pytest.mark.parametrize("sample_format", [SampleFormat.INT16, SampleFormat.INT24, SampleFormat.INT32])
def test_samples_up_to_full_scale_need_no_gain(sample_format):
    assert common_gain(stems(vocals=[-1.0, sample_format.max_sample]), sample_format.max_sample) == 1.0


def test_the_smallest_step_beyond_full_scale_needs_gain():
    assert common_gain(stems(vocals=[1.0]), SampleFormat.INT16.max_sample) == pytest.approx(32767 / 32768)


def test_float_files_keep_samples_beyond_full_scale():
    assert common_gain(stems(vocals=[2.0]), SampleFormat.FLOAT32.max_sample) == 1.0
