"""The mixer while the network is slow, gone, or says no: all stems wait together and go on in step."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.listening import Recording, difference_db, hear, hear_until, place_in, play_for
from tests.browser.range_server import Content
from tests.browser.wavs import RATE_HZ, long_wav, noise, wav

STEMS = {name: noise(40, seed) for seed, name in enumerate(("vocals", "drums", "bass"), 11)}
SONG = sum(STEMS.values())
SOUNDS = [{"name": name, "url": f"/network/{name}.wav"} for name in STEMS]
LOOK_AHEAD_S = 10
PIECE_S = 2


@pytest.fixture(scope="module", autouse=True)
def _songs(server):
    for name, samples in STEMS.items():
        server.files[f"/network/{name}.wav"] = Content.of(wav(samples))
    server.files["/network/hour.wav"] = long_wav(3600, 3)


@pytest.fixture
def mixer(page):
    page.evaluate("(stems) => open({ stems })", SOUNDS)
    return page


def events(page) -> list[str]:
    return page.evaluate("events.splice(0)")


def test_stems_wait_for_the_slowest_together_and_go_on_in_step(mixer, server):
    with server.stalled("/network/drums.wav"):
        mixer.evaluate("player.seek(10)")
        mixer.evaluate("player.play()")
        hear(mixer, 0.5)
        assert mixer.evaluate("[player.state, player.positionS]") == ["waiting", 10]
        assert not np.nan_to_num(Recording.of(mixer).samples).any()
    hear_until(mixer, "player.state === 'playing'")
    hear(mixer, 1)
    mixer.evaluate("player.pause()")
    hear(mixer, 0.2)
    heard = Recording.of(mixer).sound().samples[:-2000]
    first = place_in(SONG, heard)
    assert first - 10 * RATE_HZ in (0, 1)
    assert difference_db(heard[2000:], SONG[first + 2000 : first + len(heard)]) < -100


def test_a_stall_while_it_plays_stops_all_stems_and_no_sample_is_lost(mixer, server):
    loop_s = {"startS": 0, "endS": 0.5}
    mixer.evaluate("(loop) => player.setLoop(loop)", loop_s)  # what is scheduled ahead is in one piece
    play_for(mixer, 0.3)
    with server.stalled("/network/bass.wav"):
        mixer.evaluate("player.setLoop(null); player.seek(3.2)")
        hear_until(mixer, "player.state === 'waiting'")
        hear(mixer, 0.5)
        mixer.evaluate("forget()")
        assert mixer.evaluate("player.positionS") == pytest.approx(3.2, abs=1e-9)
    hear_until(mixer, "player.state === 'playing'")
    hear(mixer, 1)
    mixer.evaluate("player.pause()")
    hear(mixer, 0.2)
    heard = Recording.of(mixer).sound().samples[:-2000]
    assert place_in(SONG, heard) - round(3.2 * RATE_HZ) in (0, 1)


def test_it_runs_dry_with_all_stems_at_one_sample_and_goes_on_from_it(mixer, server):
    mixer.evaluate("player.seek(1)")
    hear(mixer, 0.3)  # the first piece is here
    with server.stalled("/network/bass.wav"):
        mixer.evaluate("player.play()")
        hear_until(mixer, "events.includes('playing')")
        hear_until(mixer, "player.state === 'waiting'")
        stopped_at = round(mixer.evaluate("player.positionS") * RATE_HZ)
        hear(mixer, 0.5)
    hear_until(mixer, "player.state === 'playing'")
    hear(mixer, 1)
    mixer.evaluate("player.pause()")
    hear(mixer, 0.2)
    samples = Recording.of(mixer).sound().samples
    silent = np.flatnonzero(~samples.any(axis=1))
    before, after = samples[: silent[0]], samples[silent[-1] + 1 :]
    first = place_in(SONG, before)
    assert first - RATE_HZ in (0, 1)
    assert difference_db(before[2000:-2000], SONG[first + 2000 : first + len(before) - 2000]) < -100
    assert first + len(before) == pytest.approx(stopped_at, abs=0.02 * RATE_HZ)
    assert place_in(SONG, after) - stopped_at in (0, 1)


def test_no_more_is_fetched_than_some_seconds_ahead(page, server):
    page.evaluate("() => open({ stems: [{ name: 'hour', url: '/network/hour.wav' }] })")
    server.requests.clear()
    play_for(page, 3)
    ranges = [last for path, last in server.requests if path == "/network/hour.wav"]
    last_byte = max(int(wanted.rpartition("-")[2]) for wanted in ranges)
    assert last_byte / (RATE_HZ * 4) < 4 + LOOK_AHEAD_S + 2 * PIECE_S
    page.evaluate("player.pause()")
    hear(page, 0.5)
    server.requests.clear()
    page.evaluate("player.seek(0)")
    hear(page, 0.3)
    assert not server.requests, "a piece that was just played is still here"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "signed-out"), (403, "forbidden"), (404, "gone"), (410, "gone"), (416, "changed"), (400, "refused")],
)
def test_an_answer_that_is_final_stops_it_with_its_reason(mixer, server, status, reason):
    with server.refusing("/network/drums.wav", status):
        mixer.evaluate("player.seek(20)")
        mixer.evaluate("player.play()")
        hear_until(mixer, "player.state === 'paused'")
    assert [event for event in events(mixer) if event.startswith("trouble")] == [f"trouble: {reason}"]
    mixer.evaluate("player.play()")
    hear_until(mixer, "player.state === 'playing'")


@pytest.mark.parametrize(("status", "reason"), [(500, "server"), (503, "busy"), (0, "network")])
def test_an_answer_that_may_change_is_asked_for_again(mixer, server, status, reason):
    with server.refusing("/network/drums.wav", status):
        mixer.evaluate("player.seek(30)")
        mixer.evaluate("player.play()")
        hear_until(mixer, "events.some((event) => event.startsWith('trouble'))")
        assert mixer.evaluate("player.state") == "waiting"
    hear_until(mixer, "player.state === 'playing'")
    assert f"trouble: {reason}" in events(mixer)


@pytest.mark.parametrize(("status", "reason"), [(401, "signed-out"), (404, "gone")])
def test_a_song_that_cannot_be_opened_says_why(page, server, status, reason):
    with server.refusing("/network/drums.wav", status):
        assert page.evaluate("(stems) => open({ stems }).catch(({ reason }) => reason)", SOUNDS) == reason


def test_a_file_that_is_another_one_by_now_is_not_mixed_in(mixer, server):
    server.files["/network/drums.wav"] = Content.of(wav(STEMS["drums"][: 30 * RATE_HZ]))
    try:
        mixer.evaluate("player.seek(20)")
        mixer.evaluate("player.play()")
        hear_until(mixer, "player.state === 'paused'")
    finally:
        server.files["/network/drums.wav"] = Content.of(wav(STEMS["drums"]))
    assert "trouble: changed" in events(mixer)
