"""The music on which kernels are compared with a slower implementation: the same samples on every machine.

It reaches every bin of a spectrum: notes with many harmonics, bursts of noise, and a decay of 60 dB, so that loud and
quiet parts are compared.
"""

from __future__ import annotations

import numpy as np

from uvr.audio.format import Block
from uvr.separation.mixture import NETWORK_PEAK, NETWORK_RATE_HZ

_NOTES_HZ = (41.2, 98.0, 220.0, 523.25, 1318.5)
_HARMONICS = 16
_BEAT_S = 0.4
_DECAY_DB = 60


def music(samples: int) -> Block:
    """Notes, one after the other on both sides, over bursts of noise; `samples` samples with a peak of 0.9."""
    random, time = np.random.default_rng(0), np.arange(samples) / NETWORK_RATE_HZ
    sound = 0.3 * random.standard_normal((2, samples)) * 10 ** (-3 * (time % _BEAT_S) / _BEAT_S)
    for number, note_hz in enumerate(_NOTES_HZ):
        share = (number + 1) / (len(_NOTES_HZ) + 1)
        age_s = (time + _BEAT_S * share) % _BEAT_S
        phase = 2 * np.pi * note_hz * time
        for harmonic in range(1, _HARMONICS + 1):
            wave = np.sin(harmonic * phase + harmonic**2) * np.exp(-2 * age_s / _BEAT_S) / harmonic
            sound += np.array([[1 - share], [share]]) * wave
    sound *= 10 ** (-_DECAY_DB / 20 * time / time[-1])
    return np.asarray(sound * (NETWORK_PEAK / np.abs(sound).max()), np.float32)
