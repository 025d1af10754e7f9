"""Names that a hostile user chooses: they are shown as text, run nothing, and leave the page usable."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.visits import SONG, assert_accessible, row, send
from tests.support.service import AUTH

RUN = "window.hacked = true"
NAMES = [
    f"<img src=x onerror='{RUN}'>.wav",
    f"<script>{RUN}</script>.wav",
    "'\"><svg onload=alert(1)>.wav",
    "../../etc/passwd.wav",
    "C# minor? 100 % & #1.wav",
    "שיר בעברית.wav",
    "%E4%ZZ.wav",
    "constructor",
    "{{7*7}}${7*7}.wav",
    "long " + 100 * "name ".rstrip() + ".wav",
]


@pytest.fixture(scope="module")
def tasks(service):
    found = [service.send(SONG, name) for name in NAMES]
    return [service.wait_for(task_uuid) for task_uuid in found]


def test_names_are_text_wherever_they_stand(visit, tasks):
    page = visit()
    for task in tasks:
        assert task["status"] == "success"
        page.get_by_label("Search").fill(task["task_uuid"])
        song = page.locator(".task")
        expect(song).to_have_count(1)
        expect(song.locator(".title")).to_have_text(task["audio"])
        song.get_by_role("button", name="Details").click()
        expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(task["audio"])
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_role("dialog")).to_contain_text(f"{task['audio']} and its stems")
        page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_accessible(page)
    assert page.evaluate("window.hacked") is None


def test_the_mixer_shows_names_as_text_and_whole(visit, tasks):
    page = visit(viewport={"width": 375, "height": 700})
    for task in tasks[:1] + tasks[3:6] + tasks[-1:]:
        page.goto(page.url.partition("#")[0] + f"#/tasks/{task['task_uuid']}")
        expect(page.get_by_role("heading", level=1)).to_have_text(task["audio"].removesuffix(".wav"))
        expect(page.get_by_role("button", name="Play")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("window.hacked") is None


def test_the_reason_of_a_failure_is_text(visit, service):
    task_uuid = service.generate("https://names.invalid/<img/src=x/onerror=window.hacked=1>.mp3?<b>")
    service.wait_for(task_uuid)
    page = visit(refusals=True)
    failed = row(page, "onerror")
    expect(failed.locator(".note")).to_contain_text("could not be resolved")
    failed.get_by_role("button", name="Details").click()
    assert page.locator("dialog img, dialog b").count() == 0
    page.keyboard.press("Escape")
    answer = {"status": 400, "body": json.dumps({"detail": f"<img src=x onerror='{RUN}'>"})}
    page.route("**/retry", lambda route: route.fulfill(**answer))
    failed.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_contain_text("<img src=x")
    page.keyboard.press("Escape")
    page.route("**/generate", lambda route: route.fulfill(**answer))
    send(page, "refused.wav")
    expect(page.locator(".uploads")).to_contain_text("<img src=x")
    assert page.evaluate("window.hacked") is None


def test_a_webhook_that_fails_does_not_disturb_the_board(visit, service):
    task_uuid = service.send(SONG, "with a webhook.wav", hook_url="http://127.0.0.1:9/nothing-listens")
    page = visit(AUTH)
    expect(row(page, "with a webhook.wav").locator(".state")).to_have_text("finished")
    assert service.task(task_uuid)["status"] == "success"
