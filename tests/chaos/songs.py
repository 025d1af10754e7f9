"""The audio of a task: unique noise, so that a stem of the wrong song is noticed."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping

import av
import numpy as np

from tests.chaos.plan import Song
from tests.support.audio import read_audio

_HALF_SCALE = 2**14
_TOLERANCE = 1.6 / 2**15
"""Both stems are rounded to 16 bits, and one of them is then multiplied by `compensate`, little more than 1."""

_MIN_SHARE = 0.8
"""Of white noise at 48 kHz, more than this is left after a network at 44.1 kHz."""


def wav(song: Song, seed: int) -> bytes:
    """A WAV file of 16 bits; the same for the same song and seed."""
    return noise(song.seconds, (seed, song.number), song.rate_hz, song.channels)


def noise(seconds: float, seed: int | tuple[int, ...], rate_hz: int = 44_100, channels: int = 2) -> bytes:
    """A WAV file of 16 bits with white noise; the same for the same seed."""
    shape = (round(seconds * rate_hz), channels)
    sound = np.random.default_rng(seed).integers(-_HALF_SCALE, _HALF_SCALE, shape, np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        writer.writeframes(sound.tobytes())
    return file.getvalue()


def fault_of(stems: Mapping[str, bytes], mixture: bytes, factor: float, compensate: float) -> str:
    """Why these files are not the two stems of `mixture`; "" if they are.

    `factor` is the model's share of the song that becomes the vocals, its primary stem; `compensate` is its own, too.
    """
    whole = read_audio(mixture)
    try:
        vocals, instrumental = read_audio(stems["vocals"]), read_audio(stems["instrumental"])
    except (av.FFmpegError, IndexError) as error:
        return f"a stem cannot be read: {error}"
    if not vocals.shape == instrumental.shape == whole.shape:
        return f"the song has shape {whole.shape}, the stems have {vocals.shape} and {instrumental.shape}"
    if not (vocals.any() and instrumental.any()):
        return "a stem is silent"
    share = float(np.vdot(vocals, whole) / np.vdot(whole, whole))
    if not _MIN_SHARE < share / factor < 1.1:
        return f"the vocals are {share:.2f} of the song, not {factor:.2f}, as if another model had made them"
    off = float(np.abs(vocals * np.float32(compensate) + instrumental - whole).max())
    return f"the stems' sum is off by {off:.6f}" if off > _TOLERANCE else ""
