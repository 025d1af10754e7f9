"""Every view in both color schemes, on a desktop and a phone: readable, not too wide, and large enough for fingers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from config import ROOT
from scripts.synthetic_song import make_song
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from uvr.models import store

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
MAX_PICTURE_BYTES = 300_000

TOO_SMALL_FOR_FINGERS = """() => {
  const controls = "a, button, select, summary, input:not([type=checkbox]), textarea, label:has(input)";
  return [...document.querySelectorAll(controls)]
    .filter((it) => it.checkVisibility({ visibilityProperty: true }) && it.getClientRects().length)
    .filter((it) => !it.matches(".skip, td a, .axis input, .visually-hidden"))
    .map((it) => [it.textContent.trim().slice(0, 30) || it.outerHTML.slice(0, 60), it.getBoundingClientRect()])
    .filter(([, { height }]) => height < 43.5)
    .map(([name, { height }]) => `${name}: ${height}`);
}"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("look")
    (folder / "redis").mkdir()
    store.ensure_model_file("Spleeter-2stems", model_dir)
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", model_dir, MAX_ATTEMPTS="1") as service,
    ):
        yield service


@pytest.fixture(scope="module")
def finished(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a task with stems; beside it one that has failed."""
    song = make_song(tmp_path_factory.mktemp("song") / "A song with a rather long name, from the second album.wav", 8)
    task_uuid = service.send(song.read_bytes(), song.name)
    service.wait_for(service.send(b"%PDF-1.7 a document, not a song" * 100, "document.mp3"))
    assert service.wait_for(task_uuid)["status"] == "success"
    return task_uuid


def assert_readable(page: Page, *, phone: bool) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
    if phone:
        assert page.evaluate(TOO_SMALL_FOR_FINGERS) == []


@pytest.mark.parametrize(
    ("scheme", "phone", "language"), [("light", False, "en"), ("dark", True, "en"), ("light", True, "zh-CN")]
)
def test_every_view_is_readable_and_fits(browser: Browser, service: Service, finished: str, scheme, phone, language):
    options = {"color_scheme": scheme, "locale": language, "reduced_motion": "reduce"}  # no color half way to another
    context = browser.new_context(**options, **(PHONE if phone else DESKTOP))
    page = context.new_page()
    page.goto(service.url)
    page.locator("#password").wait_for()
    assert_readable(page, phone=phone)
    page.locator("#username").fill(AUTH[0])
    page.locator("#password").fill(AUTH[1])
    page.locator("#sign-in [type=submit]").click()
    page.locator(".task").nth(1).wait_for()
    assert_readable(page, phone=phone)
    page.locator(".task:has([data-state=failed]) .actions button").last.click()
    page.locator("dialog .explanation").wait_for()
    assert_readable(page, phone=phone)
    page.keyboard.press("Escape")
    page.goto(f"{service.url}/#/tasks/{finished}")
    page.locator(".lane.waveform").nth(1).wait_for()
    page.locator(".strip .toggle").first.click()
    assert_readable(page, phone=phone)
    page.goto(f"{service.url}/#/admin")
    page.locator(".operator table").first.wait_for()
    assert_readable(page, phone=phone)
    context.close()


@pytest.mark.long
def test_the_pictures_of_the_documentation_can_be_taken_again(tmp_path: Path):
    command = [sys.executable, "-m", "scripts.screenshots", "--into", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=280)
    taken = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert taken.keys() == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert max(taken.values()) < MAX_PICTURE_BYTES
