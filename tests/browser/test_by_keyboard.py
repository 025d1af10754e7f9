"""The whole way by keyboard alone: sign in, send a song, wait for it, hear its vocals alone, and save them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.listening import Recording, difference_db, place_in
from tests.browser.visits import PAGES, assert_accessible, row
from tests.browser.wavs import wav
from tests.support.audio import read_audio
from tests.support.service import AUTH

SETTLED = 4000
SONG_S = 8


def voice_and_drums() -> bytes:
    """A song with something to hear in both stems."""
    seconds = np.arange(SONG_S * 44100) / 44100
    voice = sum(np.sin(2 * np.pi * 220 * n * seconds + 3 * np.sin(2 * np.pi * 5 * seconds)) / n for n in range(1, 9))
    drums = np.random.default_rng(1).standard_normal(len(seconds)) * (seconds % 0.5 < 0.05)
    return wav((0.1 * np.stack([voice + drums, voice - drums], axis=1)).astype(np.float32))


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this name has the focus, which must be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and name in (focused.get_attribute("aria-label") or focused.inner_text()):
            outline = focused.evaluate("(it) => getComputedStyle(it).outlineStyle")
            assert outline != "none", f"the focus on {name} cannot be seen"
            return
    pytest.fail(f"{name} cannot be reached by Tab")


def hear(page: Page, seconds: float) -> None:
    page.evaluate(
        """async (seconds) => {
          const until = context.currentTime + seconds;
          while (context.currentTime < until) await new Promise((resolve) => setTimeout(resolve, 20));
        }""",
        seconds,
    )


def test_a_song_is_sent_heard_and_saved_without_a_mouse(visit, tmp_path):
    (tmp_path / "by keyboard.wav").write_bytes(voice_and_drums())
    recorder = json.dumps((PAGES / "recorder.js").read_text())
    script = f"window.recorderCode = {recorder};\n{(PAGES / 'tap.js').read_text()}"
    page = visit(None, script=script, bypass_csp=True)  # for the recorder only
    page.keyboard.type(AUTH[0])
    page.keyboard.press("Tab")
    page.keyboard.type(AUTH[1])
    page.keyboard.press("Enter")
    expect(page.locator(".board .summary")).to_contain_text("task")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("n")
    chooser.value.set_files(tmp_path / "by keyboard.wav")
    expect(row(page, "by keyboard.wav").locator(".state")).to_have_text("finished")
    tab_to(page, "Listen to by keyboard.wav")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")
    page.wait_for_function("window.isRecording")
    assert_accessible(page)
    tab_to(page, "Solo: Vocals")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Solo: Vocals")).to_have_attribute("aria-pressed", "true")
    hear(page, 0.3)
    page.keyboard.press("Shift+Tab")
    tab_to(page, "Solo: Vocals")  # from there, the keys of the mixer work as well
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("play and pause")
    assert_accessible(page)
    page.keyboard.press("Escape")
    while page.evaluate("document.activeElement.type") != "range":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('.mixer').dataset.state === 'playing'")
    hear(page, 2)
    page.keyboard.press("Space")
    hear(page, 0.3)
    tab_to(page, "Download: Vocals")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "by keyboard (vocals).wav"
    vocals = read_audio(Path(download.value.path()).read_bytes()).T
    heard = Recording.of(page).sound().samples[:-SETTLED]
    first = place_in(vocals, heard, at=SETTLED)
    assert len(heard) > 44100
    assert difference_db(heard[SETTLED:], vocals[first + SETTLED : first + len(heard)]) < -40
