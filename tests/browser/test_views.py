"""The mixer's and the operator's view against the running service, with a song that it has really separated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.listening import Recording, difference_db, place_in
from tests.browser.wavs import wav
from tests.support.audio import read_audio
from tests.support.http_server import Answer, http_server
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


@pytest.fixture
def operator(visit: Visit) -> Iterator[Any]:
    page = visit.open("operator")
    expect(page.get_by_role("heading", name="Dead letters")).to_be_visible(timeout=PATIENCE_S * 1000)
    yield page
    page.context.close()


def panel(page: Any, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


def given_up(service: Service, **fields: str) -> str:
    """A task whose song cannot be decoded, so that it has become a dead letter."""
    task_uuid = service.send(b"%PDF-1.7 a document" * 100, "document.wav", **fields)
    assert service.wait_for(task_uuid)["status"] == "failed"
    return task_uuid


def dead_letters(service: Service) -> list[str]:
    answer = requests.get(f"{service.url}/admin/dead-letters", auth=AUTH, timeout=PATIENCE_S).json()
    return [letter["task_uuid"] for letter in answer["dead_letters"]]


@pytest.mark.usefixtures("task")
def test_an_operator_sees_the_whole_service_on_one_screen(operator: Any) -> None:
    expect(panel(operator, "Queues")).to_contain_text("webhooks")
    expect(panel(operator, "Workers")).to_contain_text(re.compile("processor.*Spleeter-2stems.*cpu.*works", re.DOTALL))
    disks = panel(operator, "Disks")
    for folder in ("TEMP_DIR", "OUTPUT_DIR", "MODEL_FILE_DIR"):
        row = disks.locator("tr", has_text=folder)
        expect(row).to_contain_text(re.compile(r"processor.*[0-9.]+ [GM]iB free of [0-9.]+ [GM]iB"))
        assert 0 < float(row.locator("meter").get_attribute("value")) < float(row.locator("meter").get_attribute("max"))
    expect(panel(operator, "Storage")).to_contain_text(re.compile("local.*output/stems.*[0-9.]+ MiB.*usable"))
    expect(panel(operator, "Redis")).to_contain_text(re.compile("(Valkey|Redis) [0-9.]+.*MiB"))
    assert panel(operator, "Tasks").get_by_text("finished").count() == 1
    found = Axe().run(operator, context=".operator")
    assert not found.response["violations"], found.generate_report()


def test_a_dead_letter_is_brought_back_and_another_dropped(operator: Any, service: Service) -> None:
    back, dropped = given_up(service), given_up(service)
    letters = panel(operator, "Dead letters")
    row = letters.locator("tr", has_text=back[:8])
    expect(row).to_contain_text("not audio that can be decoded", timeout=PATIENCE_S * 1000)
    row.get_by_role("button", name=f"Bring back: {back}").click()
    expect(operator.get_by_role("status")).to_have_text("The task goes on.")
    service.eventually(lambda: service.task(back)["attempt"] == 2, "it is tried again")
    service.wait_for(back)

    drop = letters.get_by_role("button", name=f"Drop: {dropped}")
    drop.focus()
    operator.keyboard.press("Enter")
    assert dropped in dead_letters(service), "one press drops nothing"
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("status")).to_have_text("The dead letter was dropped.")
    expect(letters.locator("tr", has_text=dropped[:8])).to_have_count(0)
    assert dropped not in dead_letters(service)
    assert service.task(dropped)["status"] == "failed"


def test_a_webhook_that_failed_is_found_explained_and_sent_again(visit: Visit, service: Service) -> None:
    with http_server() as web:
        web.answer("/hook", Answer(410), Answer(204))
        task_uuid = given_up(service, hook_url=web.url("/hook"))
        service.eventually(lambda: service.task(task_uuid)["webhook"]["state"] == "failed", "the webhook fails")
        page = visit.open("operator", viewport={"width": 375, "height": 700}, color_scheme="dark")
        row = panel(page, "Webhooks that failed").locator("tr", has_text=task_uuid[:8])
        expect(row).to_contain_text(web.url("/hook"), timeout=PATIENCE_S * 1000)
        row.locator("summary", has_text="410").click()
        expect(row.get_by_role("listitem")).to_contain_text(re.compile(r"410.*\([0-9]+ ms\)"))
        found = Axe().run(page, context=".operator")
        assert not found.response["violations"], found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        row.get_by_role("button", name="Send again").click()
        expect(page.get_by_role("status")).to_have_text("The webhook is on its way.")
        service.wait_for_delivery(task_uuid)
        assert len(web.requests) == 2
        expect(panel(page, "Webhooks that failed").locator("tr", has_text=task_uuid[:8])).to_have_count(0)


def test_what_will_stop_the_service_is_named(operator: Any) -> None:
    def worse(route: Any) -> None:
        answer = route.fetch()
        found = answer.json()
        found["workers"] = [worker for worker in found["workers"] if worker["kind"] != "uploader"]
        found["disks"] = [{**disk, "free_bytes": 2**20, "min_free_bytes": 2**30} for disk in found["disks"]]
        found["storage"] |= {"usable": False, "problem": "The bucket does not exist."}
        found["redis"] |= {"max_bytes": 2**30, "used_bytes": 2**29, "writes_fail": True}
        route.fulfill(response=answer, json=found)

    operator.route("**/admin/overview", worse)
    operator.reload()
    expect(panel(operator, "Workers")).to_contain_text("No uploader runs", timeout=PATIENCE_S * 1000)
    expect(panel(operator, "Disks")).to_contain_text("Too little: no task begins with less than 1.0 GiB")
    expect(panel(operator, "Storage")).to_contain_text("Nothing can be stored. The bucket does not exist.")
    expect(panel(operator, "Redis")).to_contain_text("512.0 MiB free of 1.0 GiB")
    expect(panel(operator, "Redis")).to_contain_text("It cannot write to its disk")


def test_failed_webhooks_of_old_tasks_are_found_on_request(operator: Any, task: str) -> None:
    """The service reads only so many tasks for one answer, and says where to go on."""
    pages = {"": [], "1:a": [], "2:b": [{"task_uuid": task, "finished_at": "2026-11-22T16:46:01.733Z"}]}
    following = {"": "1:a", "1:a": "2:b", "2:b": None}

    def answer(route: Any) -> None:
        cursor = parse_qs(urlsplit(route.request.url).query).get("cursor", [""])[0]
        route.fulfill(json={"tasks": pages[cursor], "next_cursor": following[cursor]})

    operator.route("**/tasks?webhook=failed*", answer)
    operator.reload()
    webhooks = panel(operator, "Webhooks that failed")
    expect(webhooks).to_contain_text("None has failed among the newest tasks.", timeout=PATIENCE_S * 1000)
    webhooks.get_by_role("button", name="Look further back").click()
    expect(webhooks.get_by_role("button", name=f"Send again: {task}")).to_be_visible()
    expect(webhooks.get_by_role("button", name="Look further back")).to_have_count(0)
    webhooks.get_by_role("button", name=f"Send again: {task}").click()
    expect(operator.get_by_role("status")).to_contain_text("submitted without a hook_url")
