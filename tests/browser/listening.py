"""What left the graph of a page, and where in a song it is."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.browser.wavs import RATE_HZ, Samples

PROBE_FRAMES = 256
"""So many samples of noise are at one place of the song only."""


@dataclass(frozen=True)
class Recording:
    """`samples`, of shape (frames, 2), from the frame `start` of the context's clock on.

    A busy browser leaves out moments; their samples are NaN, and do not count in comparisons.
    """

    start: int
    samples: Samples

    @classmethod
    def of(cls, page: Any) -> Recording:
        """All that was recorded so far."""
        recorded = page.evaluate("recording()")
        blocks = decoded(recorded["channels"]).reshape(len(recorded["starts"]), -1, 2)
        start, block_frames = recorded["starts"][0], blocks.shape[1]
        samples = np.full((recorded["starts"][-1] - start + block_frames, 2), np.nan, np.float32)
        for first, block in zip(recorded["starts"], blocks, strict=True):
            samples[first - start : first - start + block_frames] = block
        return cls(start, samples)

    def sound(self) -> Recording:
        """The same from the first sample that is not silent to the last one."""
        loud = np.flatnonzero(np.nan_to_num(self.samples).any(axis=1))
        assert loud.size, "nothing was heard"
        return Recording(self.start + int(loud[0]), self.samples[loud[0] : loud[-1] + 1])

    def after(self, frames: int) -> Recording:
        return Recording(self.start + frames, self.samples[frames:])


def decoded(channels: list[str]) -> Samples:
    """Channels of float32 in base64, as shape (frames, channels)."""
    return np.stack([np.frombuffer(base64.b64decode(channel), np.float32) for channel in channels], axis=1)


def play_for(page: Any, seconds: float) -> None:
    """Play, and wait until so much was heard, however busy the machine is."""
    page.evaluate("player.play()")
    hear(page, seconds)


def hear(page: Any, seconds: float) -> None:
    """Wait until the clock of the sound has gone on by `seconds`."""
    page.evaluate(
        """async (seconds) => {
          const until = player.context.currentTime + seconds;
          while (player.context.currentTime < until) await new Promise((resolve) => setTimeout(resolve, 20));
        }""",
        seconds,
    )


def forget(page: Any) -> None:
    """Record from now on; what is still on its way from the graph does not count."""
    hear(page, 0.3)
    page.evaluate("forget()")


def hear_until(page: Any, condition: str) -> None:
    page.wait_for_function(condition, polling=20)


def place_in(song: Samples, heard: Samples, at: int = 2000) -> int:
    """The frame of `song` with which `heard` begins, found by the samples `at` frames later."""
    probe = heard[at : at + PROBE_FRAMES]
    candidates = np.flatnonzero(np.isclose(song[: len(song) - PROBE_FRAMES + 1, 0], probe[0, 0], atol=1e-6))
    matches = [int(place) for place in candidates if np.allclose(song[place : place + PROBE_FRAMES], probe, atol=1e-6)]
    assert len(matches) == 1, f"what was heard is at {len(matches)} places of the song"
    return matches[0] - at


def difference_db(heard: Samples, expected: Samples) -> float:
    """The level of the difference, relative to what was expected."""
    known = is_known(heard)
    error, level = np.mean(np.square(heard[known] - expected[known])), np.mean(np.square(expected[known]))
    return float(10 * np.log10(max(error, 1e-20) / level))


def is_same(heard: Samples, expected: Samples) -> bool:
    """Whether they are equal to the bit."""
    known = is_known(heard)
    return np.array_equal(heard[known], expected[known])


def is_known(heard: Samples) -> NDArray[np.bool_]:
    known = ~np.isnan(heard).any(axis=1)
    assert known.mean() > 0.8, "too much is missing from the recording"
    return known


def seconds(frames: int) -> float:
    return frames / RATE_HZ
