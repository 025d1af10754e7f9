"""Stems stay in step: impulses in two stems are heard at the same samples after a minute of playing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.listening import Recording, hear
from tests.browser.range_server import Content
from tests.browser.wavs import RATE_HZ, wav

PLAYED_S = 62
IMPULSES = np.arange(501, PLAYED_S * RATE_HZ, RATE_HZ // 7)


def impulses(channel: int) -> np.ndarray:
    """Impulses in one of two channels, each at another distance from the beginning of its piece."""
    samples = np.zeros((PLAYED_S * RATE_HZ, 2), np.float32)
    samples[IMPULSES, channel] = 0.5
    return samples


@pytest.fixture
def minute(open_page, server):
    """A page that plays a minute."""
    for channel, name in enumerate(("left", "right")):
        server.files[f"/drift/{name}.wav"] = Content.of(wav(impulses(channel)))
    page = open_page()
    stems = [{"name": name, "url": f"/drift/{name}.wav"} for name in ("left", "right")]
    page.evaluate("(stems) => open({ stems })", stems)
    page.evaluate("player.play()")
    yield page
    page.context.close()


def test_two_stems_do_not_drift_by_a_sample_in_a_minute(minute):
    minute.wait_for_function("events.includes('ended')", polling=200, timeout=200_000)
    hear(minute, 0.2)
    assert minute.evaluate("events") == ["waiting", "playing", "paused", "ended"], "it played without a stop"
    heard = Recording.of(minute).sound()
    left, right = (np.flatnonzero(channel > 0.4) for channel in heard.samples.T)
    assert len(left) > 55 * 7
    assert np.array_equal(left, right)
    assert not ((left - left[0]) % (RATE_HZ // 7)).any(), "neither drifts from its file"
