"""Requests that are sent from /docs: real ones, by people who are signed in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.visits import MARY
from tests.support.audio import encoded, noise
from tests.support.service import AUTH, Service

expect.set_options(timeout=20_000)

SONG = {"name": "song.wav", "mimeType": "audio/wav", "buffer": encoded(noise(1), ".wav", codec="pcm_s16le")}
REFUSED = "Failed to load resource"  # what Chromium itself writes about each answer that is an error


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Callable[..., Page]]:
    """Opens /docs in a window of its own, signed in as a user or not; no window may report an error."""
    errors: list[str] = []
    contexts = []

    def visit(auth: tuple[str, str] | None = AUTH, **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda it: errors.append(it.text) if it.type == "error" and REFUSED not in it.text else None)
        if auth:
            credentials = {"username": auth[0], "password": auth[1]}
            assert contexts[-1].request.post(f"{service.url}/session", data=credentials).ok
        page.goto(f"{service.url}/docs")
        if auth:
            expect(page.locator("#try-it")).to_contain_text(f"signed in as {auth[0]}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not errors


def form(page: Page, operation: str) -> Locator:
    """The form of an operation, opened."""
    article = page.locator(f"#{operation}")
    button = article.get_by_role("button", name="Try it")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    return article.locator(".request")


def send(form: Locator, status: str) -> Locator:
    """Send what is in the form; its answer, which has this status."""
    form.get_by_role("button", name="Send").click()
    answer = form.get_by_label("Answer")
    expect(answer.get_by_role("status")).to_contain_text(status)
    return answer


def body(answer: Locator) -> Any:
    return json.loads(answer.get_by_label("Body").inner_text())


def assert_accessible(page: Page, part: str) -> None:
    found = Axe().run(page, context=part)
    assert not found.response["violations"], found.generate_report()


def test_a_song_goes_its_whole_way_from_this_page(visit: Callable[..., Page]) -> None:
    page = visit()
    submit = form(page, "submit")
    submit.get_by_label("Body", exact=True).select_option("multipart/form-data")
    submit.get_by_label("audio").set_input_files(SONG)
    accepted = send(submit, "202")
    task_uuid = body(accepted)["task_uuid"]
    expect(accepted).to_contain_text(re.compile(f"Location\\s*/tasks/{task_uuid}"))

    show = form(page, "show_task")
    expect(show.get_by_label("task_uuid")).to_have_value(task_uuid)
    assert body(send(show, "200"))["audio"] == "song.wav"

    follow = send(form(page, "follow_task"), "200")
    expect(follow).to_contain_text("The stream has ended.")
    expect(follow.get_by_label("Events")).to_contain_text('"status":"success"')

    stem = form(page, "download_stem")
    stem.get_by_label("name").fill("vocals")
    with page.expect_download() as download:
        send(stem, "200").get_by_role("link", name="Save the file").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"RIFF"
    assert_accessible(page, "#download_stem")

    delete = form(page, "delete_task")
    delete.get_by_role("button", name="Send").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert body(send(show, "200"))["status"] == "success"
    delete.get_by_role("button", name="Send").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"Send DELETE tasks/{task_uuid}?")
    assert_accessible(page, "dialog")
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(delete.get_by_role("status")).to_contain_text("204")
    send(show, "404")


def test_a_json_request_is_filled_in_and_a_refusal_is_shown_by_keyboard_alone(visit: Callable[..., Page]) -> None:
    page = visit(MARY, viewport={"width": 375, "height": 700}, color_scheme="dark")
    page.get_by_role("button", name="Try it: POST /generate").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("once")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    text = page.get_by_label("Body (application/json)")
    expect(text).to_be_focused()
    assert json.loads(text.input_value())["audio"] == "https://example.com/song.mp3"
    page.keyboard.press("Control+a")
    page.keyboard.type('{"audio": "https://songs.example/a.mp3", "priority": 9')
    page.keyboard.type("}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer = page.locator("#submit").get_by_label("Answer")
    expect(answer.get_by_role("status")).to_contain_text("400")
    assert body(answer)["errors"][0]["field"] == "priority"
    expect(answer).to_contain_text("application/problem+json")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert_accessible(page, "#submit")


def test_a_stream_is_shown_until_it_is_stopped(visit: Callable[..., Page]) -> None:
    page = visit(MARY)
    follow = form(page, "follow_tasks")
    answer = send(follow, "200")
    expect(answer.get_by_label("Events")).to_contain_text("event: all")
    follow.get_by_role("button", name="Stop").click()
    expect(answer.get_by_role("status")).to_contain_text("stopped")
    expect(follow.get_by_role("button", name="Send")).to_be_focused()


def test_the_task_of_another_user_does_not_exist_here_either(visit: Callable[..., Page], service: Service) -> None:
    show = form(visit(MARY), "show_task")
    show.get_by_label("task_uuid").fill(service.generate("https://songs.invalid/a.mp3"))
    send(show, "404")


def test_every_operation_has_a_form_that_opens(visit: Callable[..., Page]) -> None:
    page = visit(color_scheme="light")
    buttons = page.get_by_role("button", name="Try it")
    assert buttons.count() == page.locator(".try-it").count() > 25
    buttons.evaluate_all("(buttons) => buttons.forEach((button) => button.click())")
    assert page.locator(".request").count() == buttons.count()
    assert_accessible(page, "body")


def test_without_a_session_there_are_no_forms_but_the_way_to_sign_in(visit: Callable[..., Page]) -> None:
    page = visit(None)
    expect(page.locator("#show_task")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert page.get_by_role("button").count() == 0
    page.get_by_role("link", name="Sign in on the page of the service").click()
    expect(page.get_by_label("Password")).to_be_visible()
