"""The mixer as it is heard: what leaves its graph is compared with the files."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.listening import (
    Recording,
    difference_db,
    forget,
    hear,
    hear_until,
    is_same,
    place_in,
    play_for,
    seconds,
)
from tests.browser.range_server import Content
from tests.browser.wavs import RATE_HZ, noise, wav

SETTLED = 2000
"""Frames after which every fade and every gain has arrived."""
VOCALS, INSTRUMENTAL = noise(20, 1), noise(20, 2)
SONG = VOCALS + INSTRUMENTAL
STEMS = {"vocals": VOCALS, "instrumental": INSTRUMENTAL}


def song_of(*names: str) -> dict[str, object]:
    return {"stems": [{"name": name, "url": f"/songs/{name}.wav"} for name in names]}


@pytest.fixture(scope="module", autouse=True)
def _songs(server):
    for name, samples in STEMS.items():
        server.files[f"/songs/{name}.wav"] = Content.of(wav(samples))


@pytest.fixture
def mixer(page):
    """A page with both stems open."""
    page.evaluate("(song) => open(song)", song_of(*STEMS))
    return page


def recorded_sound(page) -> Recording:
    """All that was heard until now; the player pauses."""
    page.evaluate("player.pause()")
    hear(page, 0.2)
    return Recording.of(page).sound()


def assert_is(heard: Recording, song: np.ndarray, first: int) -> None:
    """The recording is `song` from `first` on, but for the fade at its end."""
    length = len(heard.samples) - SETTLED
    expected = song[first : first + length]
    assert difference_db(heard.samples[:length], expected) < -100


def test_all_stems_together_are_the_song_to_the_bit(mixer):
    play_for(mixer, 5)
    heard = recorded_sound(mixer)
    assert len(heard.samples) > 4.5 * RATE_HZ
    assert is_same(heard.samples[:-SETTLED], SONG[: len(heard.samples) - SETTLED])


def test_a_soloed_stem_is_its_file(mixer):
    mixer.evaluate("player.mix.set(0, { isSolo: true })")
    hear(mixer, 0.3)
    play_for(mixer, 2)
    assert_is(recorded_sound(mixer), VOCALS, 0)


def test_a_muted_stem_is_gone_and_original_brings_it_back(mixer):
    mixer.evaluate("player.mix.set(0, { isMuted: true })")
    hear(mixer, 0.3)
    play_for(mixer, 1)
    first = recorded_sound(mixer)
    assert_is(first, INSTRUMENTAL, 0)
    mixer.evaluate("player.mix.isOriginal = true")
    forget(mixer)
    play_for(mixer, 1)
    heard = recorded_sound(mixer).after(SETTLED)
    assert_is(heard, SONG, place_in(SONG, heard.samples))
    assert mixer.evaluate("player.mix.channels[0].isMuted"), "the faders are as they were left"


def test_a_fader_at_half_is_a_quarter_of_the_amplitude(mixer):
    mixer.evaluate("player.mix.set(0, { volume: 0.5 })")
    hear(mixer, 0.3)
    play_for(mixer, 1)
    assert_is(recorded_sound(mixer), VOCALS / 4 + INSTRUMENTAL, 0)


def test_a_fader_moves_without_a_click(mixer):
    mixer.evaluate("(song) => { player.close(); return open(song) }", song_of("constant"))
    play_for(mixer, 0.5)
    mixer.evaluate("player.mix.set(0, { isMuted: true })")
    hear(mixer, 0.5)
    heard = recorded_sound(mixer).samples
    assert np.nanmax(np.abs(np.diff(heard[:, 0]))) < 0.5 / 100


@pytest.fixture(scope="module", autouse=True)
def _constant(server):
    server.files["/songs/constant.wav"] = Content.of(wav(np.full((5 * RATE_HZ, 2), 0.5, np.float32)))


def test_a_seek_is_exact_to_the_sample_and_the_clock_says_so(mixer):
    for frame in (123_457, 88_200, 88_199):  # within a piece, on the border of two, and before it
        mixer.evaluate("(to) => { player.pause(); player.seek(to) }", seconds(frame))
        assert mixer.evaluate("player.positionS") == pytest.approx(seconds(frame), abs=1e-9)
        forget(mixer)
        play_for(mixer, 0.7)
        shown = mixer.evaluate("clock()")
        heard = recorded_sound(mixer)
        # The first sample has faded in from zero, so what is heard begins with the second one.
        first = place_in(SONG, heard.samples)
        assert 0 <= first - frame <= 1
        assert shown["position"] - (shown["frame"] - heard.start + first) == pytest.approx(0, abs=0.01)


def test_a_seek_while_it_plays_goes_on_from_there(mixer):
    play_for(mixer, 1)
    mixer.evaluate("(to) => player.seek(to)", seconds(400_000))
    hear(mixer, 1)
    heard = recorded_sound(mixer)
    tail = heard.after(len(heard.samples) - RATE_HZ // 2)
    assert_is(tail, SONG, place_in(SONG, tail.samples))
    assert 400_000 < place_in(SONG, tail.samples) < 400_000 + RATE_HZ


def test_it_pauses_and_goes_on_where_it_was(mixer):
    play_for(mixer, 1)
    first = recorded_sound(mixer)
    paused_at = round(mixer.evaluate("player.positionS") * RATE_HZ)
    assert paused_at == pytest.approx(len(first.samples), abs=RATE_HZ * 0.01)
    forget(mixer)
    play_for(mixer, 0.5)
    assert place_in(SONG, recorded_sound(mixer).samples) - paused_at in (0, 1)


def test_a_loop_joins_its_end_with_its_start_to_the_sample(mixer):
    start, end = 100_003, 130_001
    mixer.evaluate("([startS, endS]) => player.setLoop({ startS, endS })", [seconds(start), seconds(end)])
    mixer.evaluate("(to) => player.seek(to)", seconds(start))
    play_for(mixer, 3)
    heard = recorded_sound(mixer)
    rounds = np.concatenate([SONG[start + 1 : end], *[SONG[start:end]] * 6])
    assert_is(heard.after(SETTLED), rounds, SETTLED)
    assert len(heard.samples) > 3 * (end - start)


def test_a_loop_that_is_set_while_it_plays_needs_no_pause_and_ends_without_one(mixer):
    play_for(mixer, 0.5)
    start, end = 40_000, 66_000
    mixer.evaluate("([startS, endS]) => player.setLoop({ startS, endS })", [seconds(start), seconds(end)])
    hear(mixer, 1.6)
    mixer.evaluate("player.setLoop(null)")
    hear(mixer, 1)
    heard = recorded_sound(mixer).samples[:-SETTLED]
    loop = SONG[start:end]
    possible = [np.concatenate([SONG[:end], *[loop] * rounds, SONG[end:]])[: len(heard)] for rounds in range(1, 5)]
    assert min(difference_db(heard, expected) for expected in possible) < -100


def test_a_loop_that_is_moved_and_removed_again_and_again_leaves_nothing_behind(mixer):
    play_for(mixer, 0.5)
    for start_s, end_s in [(0.2, 1.5), (0.2, 1.9), (0.3, 5), (0.1, 3)]:
        mixer.evaluate("([startS, endS]) => player.setLoop({ startS, endS })", [start_s, end_s])
        mixer.evaluate("player.setLoop(null)")
    hear(mixer, 3)
    heard = recorded_sound(mixer).samples[:-SETTLED]
    assert len(heard) > 3 * RATE_HZ
    assert is_same(heard, SONG[: len(heard)])


def test_it_ends_with_the_song_and_starts_again(mixer):
    mixer.evaluate("player.seek(19.5)")
    mixer.evaluate("player.play()")
    hear_until(mixer, "events.includes('ended')")
    assert mixer.evaluate("[player.state, player.positionS]") == ["paused", 20]
    heard = Recording.of(mixer).sound()
    assert_is(heard.after(SETTLED), np.pad(SONG, ((0, SETTLED), (0, 0))), round(19.5 * RATE_HZ) + 1 + SETTLED)
    forget(mixer)
    play_for(mixer, 0.5)
    assert place_in(SONG, recorded_sound(mixer).samples) == 0
