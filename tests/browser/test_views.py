"""The mixer's view against the running service, with a song that it has really separated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.browser.listening import Recording, difference_db, place_in
from tests.browser.wavs import wav
from tests.support.audio import read_audio
from tests.support.service import AUTH, Service
from tests.support.waiting import PATIENCE_S

PAGES = Path(__file__).parent / "pages"
SETTLED = 4000
SONG_S = 12
PAGE = """<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>View</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/console/console.css"></head><body><main id="view"></main>
<script type="module">
import {{ show }} from "/console/views/{view}.js";
window.end = show(document.querySelector("#view"), {{ id: "{task}" }});
</script></body></html>"""


@pytest.fixture(scope="module")
def task(service: Service) -> str:
    """A finished task: tones and noise, so that both stems have something to hear."""
    seconds = np.arange(SONG_S * 44100) / 44100
    voice = sum(np.sin(2 * np.pi * 220 * n * seconds + 3 * np.sin(2 * np.pi * 5 * seconds)) / n for n in range(1, 9))
    drums = np.random.default_rng(1).standard_normal(len(seconds)) * (seconds % 0.5 < 0.05)
    song = wav((0.1 * np.stack([voice + drums, voice - drums], axis=1)).astype(np.float32))
    task_uuid = service.send(song, "My Song.wav")
    assert service.wait_for(task_uuid)["status"] == "success"
    return task_uuid


class Visit:
    """Opens a view as a signed-in admin; everything that the page complains about is an error."""

    def __init__(self, browser: Any, service: Service) -> None:
        self.browser, self.service, self.errors = browser, service, []

    def open(self, view: str, task: str = "", **options: Any) -> Any:
        page = self.browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}).new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        language = options.get("locale", "en")[:2]
        html = PAGE.format(view=view, task=task, language=language)
        page.route("**/harness-view", lambda route: route.fulfill(content_type="text/html", body=html))
        page.goto(f"{self.service.url}/console/icon.svg")
        page.evaluate(
            """async ([username, password]) => {
              const headers = { "Content-Type": "application/json" };
              await fetch("/session", { method: "POST", headers, body: JSON.stringify({ username, password }) });
            }""",
            list(AUTH),
        )
        recorder = json.dumps((PAGES / "recorder.js").read_text())
        page.add_init_script(f"window.recorderCode = {recorder};\n{(PAGES / 'tap.js').read_text()}")
        page.goto(f"{self.service.url}/harness-view")
        return page


@pytest.fixture
def visit(browser: Any, service: Service) -> Iterator[Visit]:
    visit = Visit(browser, service)
    yield visit
    assert visit.errors == []


@pytest.fixture
def mixer(visit: Visit, task: str) -> Iterator[Any]:
    page = visit.open("mixer", task)
    page.get_by_role("button", name="Play").wait_for()
    page.wait_for_function("window.isRecording")
    yield page
    page.context.close()


def hear(page: Any, seconds: float) -> None:
    page.evaluate(
        """async (seconds) => {
          const until = context.currentTime + seconds;
          while (context.currentTime < until) await new Promise((resolve) => setTimeout(resolve, 20));
        }""",
        seconds,
    )


def stem_of(service: Service, task: str, name: str) -> np.ndarray:
    answer = requests.get(f"{service.url}/tasks/{task}/stems/{name}", auth=AUTH, timeout=PATIENCE_S)
    return read_audio(answer.content).T


def position_s(page: Any) -> float:
    return float(page.get_by_role("slider", name="Position").input_value())


def test_soloed_vocals_are_what_is_heard(mixer: Any, service: Service, task: str) -> None:
    mixer.get_by_role("button", name="Solo: Vocals").click()
    assert mixer.get_by_role("button", name="Solo: Vocals").get_attribute("aria-pressed") == "true"
    hear(mixer, 0.3)
    mixer.keyboard.press("Escape")
    mixer.get_by_role("button", name="Play").click()
    mixer.wait_for_function("document.querySelector('.mixer').dataset.state === 'playing'")
    hear(mixer, 2.5)
    mixer.get_by_role("button", name="Pause").click()
    hear(mixer, 0.3)
    heard = Recording.of(mixer).sound().samples[:-SETTLED]
    vocals, others = (stem_of(service, task, name) for name in ("vocals", "instrumental"))
    first = place_in(vocals, heard, at=SETTLED)
    expected = vocals[first + SETTLED : first + len(heard)]
    assert difference_db(heard[SETTLED:], expected) < -40
    assert np.abs(others[first : first + len(heard)]).max() > 0.001, "the other stem would have been heard"


def test_keys_seek_play_and_mute_and_clicks_loop(mixer: Any) -> None:
    lane = mixer.locator(".lane").first.bounding_box()
    x, y = lane["x"], lane["y"] + 20
    mixer.mouse.click(x + lane["width"] / 2, y)
    assert position_s(mixer) == pytest.approx(SONG_S / 2, abs=1)
    mixer.keyboard.press("ArrowRight")
    assert mixer.get_by_role("slider", name="Position").get_attribute("aria-valuetext") == "11 seconds"
    mixer.keyboard.press("Shift+Digit1")
    assert mixer.locator(".lane.silent").count() == 1
    mixer.keyboard.press("o")
    assert mixer.locator(".lane.silent").count() == 0
    mixer.mouse.move(x + lane["width"] * 0.25, y)
    mixer.mouse.down()
    mixer.mouse.move(x + lane["width"] * 0.3, y, steps=3)
    mixer.mouse.up()
    mixer.get_by_role("button", name="Loop 0:03").wait_for()
    assert position_s(mixer) == 3
    mixer.keyboard.press(" ")
    hear(mixer, 2)
    assert position_s(mixer) == 3, "it goes round in the loop"
    mixer.keyboard.press("l")
    mixer.wait_for_function("Number(document.querySelector('.axis input').value) > 4")
    mixer.keyboard.press("?")
    mixer.get_by_role("dialog", name="Keyboard").wait_for()


def test_waveforms_are_drawn_from_the_peaks(mixer: Any) -> None:
    mixer.wait_for_function(
        """() => {
          const canvas = document.querySelector(".lane canvas");
          if (!canvas?.height) return false;
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.filter((value, index) => index % 4 === 3 && value > 0).length > 5 * canvas.width;
        }"""
    )
