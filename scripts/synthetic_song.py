"""A song that belongs to no one else, for pictures and trials: drums, bass, chords and a voice that sings vowels.

It is the same each time for the same title, and a network for vocals finds the voice in it.
"""

from __future__ import annotations

import wave
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]

RATE = 44100
BEAT_S = 0.5
BAR = round(4 * BEAT_S * RATE)
"""Samples of a bar."""

# The lowest notes of a chord progression, in semitones above A1, and what stands above them.
_PROGRESSIONS = ([0, 8, 3, 10], [3, 10, 0, 8], [0, 5, 8, 10], [8, 10, 0, 3])
_CHORD = (24, 27, 31, 36)
_SCALE = (36, 38, 39, 41, 43, 46, 48)

# The first three resonances of the vowels a, e, o and u, in Hz.
_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (570, 840, 2410), (300, 870, 2240))

# Which parts play in each section of four bars, and how loud the section is.
_ARRANGEMENT = (
    ({"chords"}, 0.6),
    ({"chords", "bass", "voice"}, 0.75),
    ({"chords", "bass", "drums", "voice"}, 0.9),
    ({"chords", "bass", "drums", "voice"}, 1.0),
    ({"chords", "bass", "drums", "voice"}, 0.8),
    ({"chords", "voice"}, 0.65),
    ({"chords", "bass", "drums", "voice"}, 1.0),
    ({"chords", "bass"}, 0.6),
)


def make_song(path: Path, seconds: float) -> Path:
    """Write a WAV file (16 bits, stereo) of about this length; its name decides about melody and chords."""
    random = np.random.default_rng(crc32(path.name.encode()))
    roots = _PROGRESSIONS[int(random.integers(len(_PROGRESSIONS)))]
    sections = max(1, round(seconds * RATE / (4 * BAR)))
    band = {"chords": _chords(roots), "bass": _bass(roots), "drums": _drums(random)}
    melodies = [_voice(random) for _ in range(3)]
    song = np.concatenate(
        [
            _section({**band, "voice": melodies[at % len(melodies)]}, *_ARRANGEMENT[at % len(_ARRANGEMENT)])
            for at in range(sections)
        ]
    )
    song[-BAR:] *= np.linspace(1, 0, BAR)[:, None]
    samples = (song / np.abs(song).max() * 0.9 * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path


def _section(parts: dict[str, Sound], playing: set[str], level: float) -> Sound:
    """Four bars of stereo, of shape (samples, 2): the voice and the bass in the middle, the chords around them."""
    left = sum(parts[name] for name in sorted(playing))
    right = left + (np.roll(parts["chords"], 500) - parts["chords"] if "chords" in playing else 0)
    return level * np.stack([left, right], axis=1)


def _chords(roots: list[int]) -> Sound:
    bars = []
    for root in roots:
        tones = [_tone(_hz(root % 12 + step), BAR, harmonics=4) for step in _CHORD]
        bars.append(sum(tones) * _envelope(BAR, attack_s=0.2, release_s=0.4))
    return 0.06 * np.concatenate(bars)


def _bass(roots: list[int]) -> Sound:
    eighth = BAR // 8
    notes = []
    for root in roots:
        for step in (0, 0, 12, 0, 7, 0, 12, 7):
            decay = np.exp(-np.arange(eighth) / (0.15 * RATE))
            notes.append(_tone(_hz(root + step), eighth, harmonics=6) * decay * _envelope(eighth, 0.005, 0.02))
    return 0.25 * np.concatenate([*notes, np.zeros(4 * BAR - 32 * eighth)])


def _drums(random: np.random.Generator) -> Sound:
    """A bass drum on each beat, a snare on the second and the fourth, a hi-hat on each eighth."""
    sound = np.zeros(4 * BAR)
    beat = BAR // 4
    time_s = np.arange(beat) / RATE
    kick = np.sin(2 * np.pi * (50 * time_s + 4 * (1 - np.exp(-time_s * 30)))) * np.exp(-time_s * 12)
    for at in range(16):
        noise = random.standard_normal(beat)
        hat = np.diff(noise, prepend=0) * (np.exp(-time_s * 90) + 0.6 * np.exp(-np.mod(time_s + 0.25, 0.5) * 120))
        snare = noise * np.exp(-time_s * 22) if at % 2 else 0
        sound[at * beat : (at + 1) * beat] = 0.55 * kick + 0.22 * snare + 0.05 * hat
    return sound


def _voice(random: np.random.Generator) -> Sound:
    """Two phrases of two bars, each of some syllables and a breath."""
    sound = np.zeros(4 * BAR)
    eighth = BAR // 8
    for phrase in range(2):
        at, degree = 16 * phrase, 2
        while at < 16 * phrase + 13:
            length = int(random.choice([1, 2, 2, 3]))
            degree = int(np.clip(degree + random.integers(-2, 3), 0, len(_SCALE) - 1))
            vowel = _VOWELS[int(random.integers(len(_VOWELS)))]
            syllable = random.uniform(0.4, 1) * _sung(_hz(_SCALE[degree]), length * eighth, vowel, random)
            sound[at * eighth : (at + length) * eighth] += syllable
            at += length
    return 0.8 * sound


def _sung(tone_hz: float, samples: int, vowel: tuple[int, int, int], random: np.random.Generator) -> Sound:
    """A vowel: the harmonics of a voice with vibrato, as loud as the resonances of the throat let them through."""
    time_s = np.arange(samples) / RATE
    depth = 0.012 * np.minimum(1, time_s / 0.25)
    phase = 2 * np.pi * np.cumsum(tone_hz * (1 + depth * np.sin(2 * np.pi * 5.4 * time_s))) / RATE
    sound = np.zeros(samples)
    for number in range(1, int(5000 / tone_hz)):
        gain = sum(1 / (1 + ((number * tone_hz - peak_hz) / 120) ** 2) for peak_hz in vowel) / number**0.5
        sound += gain * np.sin(number * phase)
    breath = 0.01 * random.standard_normal(samples)
    sung: Sound = (sound / np.abs(sound).max() + breath) * _envelope(samples, attack_s=0.05, release_s=0.09)
    return sung


def _tone(tone_hz: float, samples: int, harmonics: int) -> Sound:
    phase = 2 * np.pi * tone_hz * np.arange(samples) / RATE
    return np.asarray(sum(np.sin(number * phase) / number**1.5 for number in range(1, harmonics + 1)))


def _envelope(samples: int, attack_s: float, release_s: float) -> Sound:
    at = np.arange(samples) / RATE
    envelope: Sound = np.clip(np.minimum(at / attack_s, at[::-1] / release_s), 0, 1)
    return envelope


def _hz(semitones: int) -> float:
    return float(55 * 2 ** (semitones / 12))
