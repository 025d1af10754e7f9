"""Synthetic songs of any length for the benchmarks, the same on every run.

The speed of a network does not depend on the content, but the sound must be loud, stereo and without digital silence,
which the engine does not send through the network.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 44_100
CHORD_HZ = (110.0, 164.81, 220.0, 277.18, 440.0, 659.26)


def made_music(seconds: float) -> Iterator[NDArray[np.int16]]:
    """A chord with two beats per second and soft noise, as 16-bit blocks of one second, of shape (samples, 2)."""
    generator = np.random.default_rng(0)
    left = round(seconds * RATE_HZ)
    for second in range(round(seconds) + 1):
        size = min(left, RATE_HZ)
        if not size:
            return
        time = second + np.arange(size)[:, None] / RATE_HZ
        tones = sum(np.sin(2 * np.pi * hz * time + [0.0, hz]) for hz in CHORD_HZ) / len(CHORD_HZ)
        beat = 0.3 + 0.7 * np.exp(-6 * (time * 2 % 1))
        sound = beat * (0.7 * tones + 0.1 * generator.standard_normal((size, 2)))
        yield (np.clip(sound, -0.99, 0.99) * 32767).astype("<i2")
        left -= size


def made_song(path: Path, seconds: float, rate_hz: int = RATE_HZ) -> Path:
    """Write `made_music` as a 16-bit stereo WAV file; at another rate than its own it sounds higher or lower."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for block in made_music(seconds * rate_hz / RATE_HZ):
            file.writeframes(block.tobytes())
    return path
