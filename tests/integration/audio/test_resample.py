"""Resampling to the network's rate and back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.audio import noise, snr_db
from uvr.audio.resample import fit_to_length, resampled


def blocks_of(sound, size=10_000):
    return (sound[:, start : start + size] for start in range(0, sound.shape[1], size))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 22050, 32000, 48000, 96000, 192000])
def test_resampling_and_back_changes_nothing_audible(rate, channels):
    sound = noise(3, rate=rate, channels=channels)
    converted = resampled(blocks_of(sound), rate, 44100)
    back = fit_to_length(resampled(converted, 44100, rate), sound.shape[1], channels)
    assert snr_db(sound, np.concatenate(list(back), axis=1)) > 100


def test_with_the_same_rate_blocks_pass_through():
    block = noise(1)
    (out,) = resampled([block], 44100, 44100)
    assert out is block


@pytest.mark.parametrize("length", [1, 500, 3000, 4000])
def test_blocks_are_cut_or_padded_to_the_exact_length(length):
    sound = np.ones((2, 3000), np.float32)
    fitted = np.concatenate(list(fit_to_length(blocks_of(sound, 1000), length, 2)), axis=1)
    assert fitted.shape == (2, length)
    assert fitted[0].sum() == min(length, 3000)
