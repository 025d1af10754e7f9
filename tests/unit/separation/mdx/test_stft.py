"""The transform against its definition, in float64 and frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.audio import snr_db
from uvr.separation.mdx.stft import Stft

FRAMES = 32


def segment(samples: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, samples)).astype(np.float32)


def spectrum_by_definition(signal: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    padded = np.pad(signal.astype(np.float64), ((0, 0), (n_fft // 2, n_fft // 2)), mode="reflect")
    window = np.sin(np.pi * np.arange(n_fft) / n_fft) ** 2
    frames = [np.fft.rfft(padded[:, start : start + n_fft] * window) for start in range(0, signal.shape[1] + 1, hop)]
    bins = np.stack(frames, axis=-1)
    return np.stack([bins[0].real, bins[0].imag, bins[1].real, bins[1].imag])


@pytest.mark.parametrize("n_fft", [2048, 5120, 6144, 7680])
def test_forward_is_the_transform_of_reflected_hann_windowed_frames(n_fft):
    signal = segment(1024 * (FRAMES - 1))
    spectrum = Stft(n_fft=n_fft, hop_length=1024, dim_f=n_fft // 2, frames=FRAMES).forward(signal)
    assert spectrum.shape == (4, n_fft // 2, FRAMES)
    assert spectrum.dtype == np.float32
    assert snr_db(spectrum_by_definition(signal, n_fft, 1024)[:, : n_fft // 2], spectrum) > 120


@pytest.mark.parametrize("n_fft", [2048, 5120, 6144, 7680])
def test_inverse_gives_the_segment_back(n_fft):
    stft = Stft(n_fft=n_fft, hop_length=1024, dim_f=n_fft // 2 + 1, frames=FRAMES)
    signal = segment(1024 * (FRAMES - 1))
    back = stft.inverse(stft.forward(signal))
    assert back.dtype == np.float32
    assert snr_db(signal, back) > 120


def test_inverse_sets_missing_bins_to_zero():
    stft = Stft(n_fft=2048, hop_length=1024, dim_f=512, frames=FRAMES)
    time = np.arange(1024 * (FRAMES - 1))
    low, high = np.sin(2 * np.pi * 100 / 2048 * time), np.sin(2 * np.pi * 900 / 2048 * time)
    back = stft.inverse(stft.forward(np.stack([low, low + high]).astype(np.float32)))
    inner = slice(4096, -4096)
    assert snr_db(np.stack([low, low])[:, inner], back[:, inner]) > 60


def test_a_spectrum_is_written_to_given_memory():
    stft, signal = Stft(n_fft=2048, hop_length=1024, dim_f=512, frames=FRAMES), segment(1024 * (FRAMES - 1))
    memory = np.full((4, 512, FRAMES), np.nan, np.float32)
    assert stft.forward(signal, memory) is memory
    assert np.array_equal(memory, stft.forward(signal))
