"""Stems that are not WAV: decoded as a whole if they are short, played by media elements if they are long."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.listening import Recording, difference_db, hear, hear_until, play_for
from tests.browser.range_server import Content
from tests.browser.wavs import noise, wav
from tests.support.audio import encoded

RATE_HZ = 48_000
VOCALS, INSTRUMENTAL = noise(6, 21, rate_hz=RATE_HZ), noise(6, 22, rate_hz=RATE_HZ)
SONG = VOCALS + INSTRUMENTAL
STEMS = [{"name": name, "url": f"/formats/{name}.flac"} for name in ("vocals", "instrumental")]


@pytest.fixture(scope="module", autouse=True)
def _songs(server):
    for stem, samples in zip(STEMS, (VOCALS, INSTRUMENTAL), strict=True):
        server.files[stem["url"]] = Content.of(encoded(samples.T, ".flac", codec="flac", rate=RATE_HZ))
    server.files["/formats/fast.wav"] = Content.of(wav(VOCALS, rate_hz=RATE_HZ))
    server.files["/formats/slow.wav"] = Content.of(wav(VOCALS, rate_hz=22_050))
    server.files["/formats/text.flac"] = Content.of(b"This is not audio." * 100)


def test_short_songs_are_decoded_as_a_whole_and_exact(page):
    opened = page.evaluate("(stems) => open({ stems, seconds: 6, sampleRate: 48000 })", STEMS)
    assert opened == {"kind": "whole", "durationS": 6, "sampleRate": RATE_HZ}
    play_for(page, 3)
    page.evaluate("player.pause()")
    hear(page, 0.3)
    heard = Recording.of(page).sound().samples[:-2000]
    assert difference_db(heard, SONG[: len(heard)]) < -80, "FLAC of 16 bits; white noise would show any shift"


def test_long_songs_are_played_by_media_elements_nearly_in_step(page):
    opened = page.evaluate("(stems) => open({ stems, seconds: 7200, sampleRate: 48000 })", STEMS)
    assert opened["kind"] == "media"
    assert opened["durationS"] == pytest.approx(6, abs=0.01)
    page.evaluate("player.mix.set(0, { isMuted: true }); player.seek(2)")
    page.evaluate("player.play()")
    hear_until(page, "player.state === 'playing'")
    hear_until(page, "player.positionS > 2.5")
    page.evaluate("player.pause()")
    assert page.evaluate("player.state") == "paused"
    assert 2.5 < page.evaluate("player.positionS") < 5
    hear(page, 0.3)
    assert np.nanstd(Recording.of(page).sound().samples) > 0.1
    page.evaluate("player.setLoop({ startS: 1, endS: 1.5 }); player.seek(1)")
    page.evaluate("player.play()")
    hear(page, 1.5)
    assert page.evaluate("player.positionS") < 2
    page.evaluate("player.setLoop(null); player.seek(5.5)")
    hear_until(page, "events.includes('ended')")


def test_wav_files_of_different_rates_are_converted_by_the_browser(page):
    stems = [{"name": name, "url": f"/formats/{name}.wav"} for name in ("fast", "slow")]
    opened = page.evaluate("(stems) => open({ stems, seconds: 14, sampleRate: 48000 })", stems)
    assert opened["kind"] == "whole"
    assert opened["durationS"] == pytest.approx(6 * RATE_HZ / 22_050, abs=0.01)


@pytest.mark.parametrize("seconds", [10, None])
def test_what_no_browser_can_play_is_unreadable(page, seconds):
    stems = [{"name": "text", "url": "/formats/text.flac"}]
    song = {"stems": stems} | ({"seconds": seconds} if seconds else {})
    assert page.evaluate("(song) => open(song).catch(({ reason }) => reason)", song) == "unreadable"
