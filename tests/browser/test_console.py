"""The page of the service against the running service: sign in, send songs, and follow the tasks."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.audio import encoded, noise
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from uvr.models import store

expect.set_options(timeout=20_000)

OTHER = ("mary", "another password for tests")
SONG = encoded(noise(2), ".wav", codec="pcm_s16le")
NOT_A_SONG = b"%PDF-1.7 a document, not a song" * 100
LOST = "Failed to load resource"  # what Chromium itself writes about each answer that is an error


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    """A service with two users besides the admin's tasks."""
    folder = tmp_path_factory.mktemp("service")
    users = folder / "users"
    users.write_text(f"{OTHER[0]}:{bcrypt.hashpw(OTHER[1].encode(), bcrypt.gensalt(4)).decode()}\n")
    users.chmod(0o600)
    store.ensure_model_file("Spleeter-2stems", model_dir)
    (folder / "redis").mkdir()
    settings = {"BASIC_AUTH_USERS_FILE": str(users)}
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", model_dir, **settings) as service,
    ):
        yield service


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Callable[..., Page]]:
    """Opens the page in a window of its own, signed in as a user or not; no window may report an error."""
    errors: list[str] = []
    contexts = []

    def visit(auth: tuple[str, str] | None = AUTH, **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda it: errors.append(it.text) if it.type == "error" and LOST not in it.text else None)
        page.goto(service.url)
        if auth:
            sign_in(page, auth)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not errors


def sign_in(page: Page, auth: tuple[str, str]) -> None:
    page.locator("#username").fill(auth[0])
    page.locator("#password").fill(auth[1])
    page.locator("#sign-in button").click()
    expect(page.locator(".board .summary")).to_contain_text(re.compile("task|任务"))


def send(page: Page, name: str, content: bytes = SONG) -> Any:
    """Choose a file; its row on the board."""
    file = {"name": name, "mimeType": "audio/wav", "buffer": content}
    page.locator("input[type=file]").first.set_input_files(file)
    return row(page, name)


def row(page: Page, name: str) -> Any:
    return page.locator(".task", has_text=name)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_a_wrong_password_is_explained_and_the_right_one_opens_the_page(visit):
    page = visit(None)
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


def test_addresses_go_as_one_list_and_a_wrong_one_is_named_by_its_line(visit, service):
    page = visit()
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


def test_an_upload_that_is_refused_says_why_and_is_sent_again(visit):
    page = visit()
    page.route("**/generate", lambda route: route.fulfill(status=413, body='{"detail": "The song is too large."}'))
    song = send(page, "again.wav")
    failed = page.locator(".uploads li", has_text="again.wav")
    expect(failed).to_contain_text("The song is too large.")
    assert_accessible(page)
    page.unroute("**/generate")
    failed.get_by_role("button", name="Send again").click()
    expect(failed).to_have_count(0)
    expect(song.locator(".state")).to_have_text("finished")


def test_users_do_not_see_each_other(visit):
    page, other = visit(), visit(OTHER)
    song = send(other, "marys.wav")
    expect(song.locator(".state")).to_have_text("finished")
    expect(row(other, "dropped.wav")).to_have_count(0)
    expect(other.get_by_role("link", name="Operator")).to_be_hidden()
    expect(page.get_by_role("link", name="Operator")).to_be_visible()
    expect(row(page, "marys.wav").locator(".meta")).to_contain_text("mary")


def test_a_session_that_ends_asks_to_sign_in_and_keeps_what_was_typed(visit):
    page = visit(OTHER)
    page.get_by_label("Or addresses of songs, one a line").fill("https://one.invalid/typed.mp3")
    page.evaluate("fetch('session', { method: 'DELETE' })")
    page.get_by_role("button", name="Send addresses").click()
    expect(page.locator("#sign-in")).to_contain_text("Your session is over")
    sign_in(page, OTHER)
    expect(page.get_by_label("Or addresses of songs, one a line")).to_have_value("https://one.invalid/typed.mp3")
    page.get_by_role("button", name="Send addresses").click()
    expect(row(page, "typed.mp3")).to_be_visible()


def test_a_lost_connection_is_said_and_comes_back(visit, service):
    page = visit()
    service.kill("app")
    expect(page.locator(".connection")).to_have_text("The connection is lost. Connecting again…")
    service.start("app")
    expect(page.locator(".connection")).to_have_text("", timeout=40_000)


def test_the_page_is_chinese_and_fits_a_phone(visit):
    page = visit(locale="zh-CN", viewport={"width": 375, "height": 700}, color_scheme="dark")
    expect(page.get_by_role("heading", name="发送歌曲")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator(".task").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert_accessible(page)


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
    expect(page.locator('.task[aria-posinset="1"]')).to_be_focused()


MANY_TASKS = """() => {
  const task = (number) => ({ task_uuid: `${number}`, status: "success", priority: 3, progress: 1, attempt: 1,
    owner: "tester", created_at: new Date(1e12 + 1000 * number).toISOString(), started_at: null, finished_at: null,
    audio: `song ${number}.wav`, error_message: null, position: null, eta_s: null, stems: [], stems_deleted_at: null });
  window.EventSource = class extends EventTarget {
    constructor() {
      super();
      window.say = (kind, data) => this.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }));
      const tasks = Array.from({ length: 5000 }, (_, index) => task(5000 - index));
      setTimeout(() => window.say("all", { tasks, more: false, left_out: true }));
    }
    close() {}
  };
  window.task = task;
}"""


def test_the_page_is_light_and_appears_at_once(visit):
    page = visit(None)
    sizes = page.evaluate(
        """() => performance.getEntriesByType("resource").map((it) => it.encodedBodySize).reduce((a, b) => a + b, 0)"""
    )
    assert 10_000 < sizes <= 150_000
    paints = []
    for _ in range(5):
        page.reload()
        page.locator("#username").wait_for()
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(paints) <= 300


def test_thousands_of_tasks_are_a_few_rows_that_stay_in_place(visit):
    page = visit(None)
    page.add_init_script(f"({MANY_TASKS})()")
    page.reload()
    sign_in(page, AUTH)
    expect(page.locator(".summary")).to_contain_text("5000 tasks")
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    expect(page.locator(".task", has_text="song 2500.wav")).to_be_attached()
    assert page.locator(".task").count() < 40
    seen = page.evaluate("[...document.querySelectorAll('.task')].map((it) => it.getBoundingClientRect().top)")
    names = page.locator(".task .title").all_text_contents()
    page.evaluate("say('changed', { tasks: [task(6000), task(6001)], removed: ['4999'] })")
    moved = page.evaluate(
        """(names) => names.map((name) => [...document.querySelectorAll('.task')]
             .find((it) => it.querySelector('.title').textContent === name)?.getBoundingClientRect().top)""",
        names,
    )
    kept = [abs(now - before) for before, now in zip(seen, moved, strict=True) if now is not None]
    assert len(kept) > 5
    assert max(kept) <= 1
