"""The page of the service against the running service: sign in, send songs, and follow the tasks."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from config import ROOT
from tests.browser.range_server import Content
from tests.browser.visits import MARY, SONG, assert_accessible, row, send, sign_in, wait_until
from tests.support.service import AUTH
from tests.support.waiting import eventually

NOT_A_SONG = b"%PDF-1.7 a document, not a song" * 100


def test_a_wrong_password_is_explained_and_the_right_one_opens_the_page(visit):
    page = visit(None, refusals=True)
    assert_accessible(page)
    page.keyboard.type(AUTH[0])
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    sign_in(page, AUTH)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    expect(page.locator(".board")).to_have_count(0)


def test_a_song_that_is_dropped_is_separated_and_its_stems_can_be_saved(visit):
    page = visit()
    page.locator(".send [value=flac]").wait_for(state="attached")
    page.get_by_label("Format").select_option("flac")
    page.evaluate(
        """(bytes) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(bytes)], "dropped.wav", { type: "audio/wav" }));
          document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
        }""",
        list(SONG),
    )
    song = row(page, "dropped.wav")
    expect(song.locator(".state")).to_have_text("finished")
    expect(song.get_by_role("link", name="Listen")).to_have_attribute("href", re.compile("^#/tasks/[0-9a-f-]{36}$"))
    with page.expect_download() as download:
        song.get_by_role("link", name="Download Vocals").click()
    assert download.value.suggested_filename == "dropped (vocals).flac"
    assert Path(download.value.path()).read_bytes()[:4] == b"fLaC"
    with page.expect_download() as download:
        song.get_by_role("link", name="ZIP").click()
    assert download.value.suggested_filename.endswith(".zip")
    expect(page.locator("#announcements")).to_contain_text("dropped.wav: finished")
    assert_accessible(page)


def test_a_failure_says_what_to_do_and_the_task_can_be_deleted(visit):
    page = visit()
    song = send(page, "document.wav", NOT_A_SONG)
    expect(song.locator(".note")).to_contain_text("not audio that can be decoded")
    expect(song.locator(".note")).to_contain_text("download the song and drop it here")
    song.get_by_role("button", name="Details").click()
    expect(page.get_by_role("dialog")).to_contain_text("What to do")
    assert_accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete this task?").get_by_role("button", name="Delete").click()
    expect(song).to_have_count(0)


def test_a_waiting_task_is_found_moved_forward_cancelled_and_tried_again(visit, service):
    page = visit()
    service.processes["processor"].send_signal(signal.SIGSTOP)
    try:
        song = send(page, "waiting.wav")
        expect(song.locator(".state")).to_have_text("waiting")
        song.get_by_label("Priority").select_option("5")
        expect(song.locator(".meta")).to_contain_text("priority 5")
        song.get_by_role("button", name="Cancel").click()
        expect(song.locator(".state")).to_have_text("cancelled")
        page.keyboard.press("Escape")
        page.get_by_label("State").select_option("cancelled")
        page.keyboard.press("/")
        page.get_by_label("Search").fill("waiting no")
        expect(page.locator(".task")).to_have_count(0)
        page.get_by_label("Search").fill("WAITING")
        expect(page.locator(".task")).to_have_count(1)
        page.get_by_label("State").select_option("all")
        song.get_by_role("button", name="Try again").click()
        expect(song.locator(".state")).to_have_text("waiting")
    finally:
        service.processes["processor"].send_signal(signal.SIGCONT)
    expect(song.locator(".state")).to_have_text("finished")


def test_a_running_task_is_cancelled(visit, service, server):
    server.files["/slow/endless.wav"] = Content.of(SONG)
    page = visit()
    with server.stalled("/slow/"):
        task_uuid = service.generate(f"{server.url}/slow/endless.wav")
        song = row(page, "endless.wav")
        expect(song.locator(".state")).to_have_text("separating")
        expect(song.get_by_role("progressbar")).to_be_visible()
        song.get_by_role("button", name="Cancel").click()
        expect(song.locator(".state")).to_have_text("cancelled")
    assert service.task(task_uuid)["status"] == "cancelled"


def test_addresses_go_as_one_list_and_a_wrong_one_is_named_by_its_line(visit, service):
    page = visit(refusals=True)
    urls = page.get_by_label("Or addresses of songs, one a line")
    urls.fill("http://127.0.0.1:1/one.mp3\n\nftp://127.0.0.1/two.mp3")
    page.get_by_role("button", name="Send addresses").click()
    expect(page.get_by_role("alert")).to_contain_text("Line 2: the address")
    expect(urls).to_have_value("http://127.0.0.1:1/one.mp3\nftp://127.0.0.1/two.mp3")
    urls.fill("https://one.invalid/one.mp3\nhttps://one.invalid/two.mp3")
    page.get_by_role("button", name="Send addresses").click()
    expect(urls).to_have_value("")
    expect(row(page, "one.mp3")).to_be_visible()
    expect(row(page, "two.mp3")).to_be_visible()
    tasks = requests.get(f"{service.url}/tasks", auth=AUTH, timeout=20).json()["tasks"]
    assert len({task["batch"] for task in tasks if task["audio"].startswith("https://one.invalid/")}) == 1


def test_users_do_not_see_each_other(visit, service):
    admins = service.send(SONG, "admins.wav")
    page, other = visit(), visit(MARY, refusals=True)
    song = send(other, "marys.wav")
    expect(song.locator(".state")).to_have_text("finished")
    expect(row(other, "admins.wav")).to_have_count(0)
    expect(other.get_by_role("link", name="Operator")).to_be_hidden()
    expect(page.get_by_role("link", name="Operator")).to_be_visible()
    expect(row(page, "marys.wav").locator(".meta")).to_contain_text("mary")
    service.wait_for(admins)
    other.goto(f"{service.url}/#/tasks/{admins}")
    expect(other.get_by_role("alert")).to_contain_text("no task")
    for path in ("stems/vocals", "stems.zip", "peaks?stem=vocals", "events"):
        assert other.evaluate("async (path) => (await fetch(path)).status", f"tasks/{admins}/{path}") == 404


def test_a_session_that_ends_asks_to_sign_in_and_keeps_what_was_typed(visit):
    page = visit(MARY, refusals=True)
    page.get_by_label("Or addresses of songs, one a line").fill("https://one.invalid/typed.mp3")
    page.evaluate("fetch('session', { method: 'DELETE' })")
    page.get_by_role("button", name="Send addresses").click()
    expect(page.locator("#sign-in")).to_contain_text("Your session is over")
    sign_in(page, MARY)
    expect(page.get_by_label("Or addresses of songs, one a line")).to_have_value("https://one.invalid/typed.mp3")
    page.get_by_role("button", name="Send addresses").click()
    expect(row(page, "typed.mp3")).to_be_visible()


@pytest.fixture
def two_songs(service):
    """Two finished tasks, at least."""
    return [service.wait_for(service.send(SONG, f"listed {number}.wav")) for number in range(2)]


@pytest.mark.usefixtures("two_songs")
def test_the_page_is_chinese_and_fits_a_phone(visit):
    page = visit(locale="zh-CN", viewport={"width": 375, "height": 700}, color_scheme="dark")
    expect(page.get_by_role("heading", name="发送歌曲")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator(".task").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert_accessible(page)


@pytest.mark.usefixtures("two_songs")
def test_keys_are_listed_and_move_between_tasks(visit):
    page = visit()
    expect(page.locator(".task").nth(1)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("choose songs to send")
    page.keyboard.press("Escape")
    page.locator(".task").first.get_by_role("button", name="Details").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator('.task[aria-posinset="2"]')).to_be_focused()
    page.keyboard.press("ArrowUp")
    first = page.locator('.task[aria-posinset="1"]')
    expect(first).to_be_focused()
    task_uuid = first.get_attribute("data-id")
    first.get_by_role("button", name="Details").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    page.get_by_role("dialog", name="Delete this task?").get_by_role("button", name="Delete").press("Enter")
    expect(page.locator(f"[data-id='{task_uuid}']")).to_have_count(0)
    expect(first).to_be_focused()


def test_the_page_is_light_and_appears_at_once(visit, service):
    page = visit(None)
    files = [path for path in (ROOT / "web").rglob("*") if path.is_file() and "vendor" not in path.parts]
    sizes = [
        len(requests.get(f"{service.url}/console/{path.relative_to(ROOT / 'web')}", stream=True, timeout=20).raw.read())
        for path in files
    ]
    assert 50_000 < sum(sizes) <= 150_000, "what all views take on the wire, each file compressed by itself"

    def painted_ms() -> float:
        page.reload()
        page.locator("#username").wait_for()
        wait_until(page, "performance.getEntriesByName('first-contentful-paint').length")
        return page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")

    eventually(lambda: painted_ms() <= 300, "the first paint after 0.3 s, in a moment without other work")
