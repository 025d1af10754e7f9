"""What a user does on the page, and what must be true of each window in which it is open."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, Request, Response, expect

from tests.support.audio import encoded, noise
from tests.support.service import AUTH, Service
from tests.support.waiting import PATIENCE_S, eventually

expect.set_options(timeout=1000 * PATIENCE_S)

MARY = ("mary", "another password for tests")
"""A user who is not the admin."""
SONG = encoded(noise(2), ".wav", codec="pcm_s16le")
PAGES = Path(__file__).parent / "pages"

_FAILED_REQUEST = "Failed to load resource"
"""With this, Chromium itself reports each answer that is an error; see `Visits` for those."""
_HERE = ("127.0.0.1", "localhost", None)

Visit = Callable[..., Page]


def watch(context: BrowserContext, complaints: list[str]) -> None:
    """Add to `complaints` what no window may do: report an error, or ask another machine for something."""

    def check_request(request: Request) -> None:
        if urlsplit(request.url).hostname not in _HERE:
            complaints.append(f"A request left this machine: {request.url}")

    def check_message(message: Any) -> None:
        if message.type == "error" and not message.text.startswith(_FAILED_REQUEST):
            complaints.append(message.text)

    context.on("request", check_request)
    context.on("console", check_message)
    context.on("weberror", lambda failure: complaints.append(str(failure.error)))


class Visits:
    """Opens the page of `service` in windows of its own.

    A window whose test does not expect refusals must get none, and must ask only the service.
    """

    def __init__(self, new_context: Callable[..., BrowserContext], service: Service, complaints: list[str]) -> None:
        self._new_context = new_context
        self._service = service
        self._complaints = complaints
        self._contexts: list[BrowserContext] = []

    def __call__(
        self, auth: tuple[str, str] | None = AUTH, *, refusals: bool = False, script: str = "", **options: Any
    ) -> Page:
        """The page, signed in as this user or not. `script` runs before its own ones."""
        context = self._new_context(**options)
        self._contexts.append(context)
        if script:
            context.add_init_script(script)
        if not refusals:
            context.on("response", self._check_answer)
        page = context.new_page()
        page.goto(self._service.url)
        if auth:
            sign_in(page, auth)
        return page

    def _check_answer(self, answer: Response) -> None:
        if answer.status >= 400:
            self._complaints.append(f"{answer.status} {answer.request.method} {answer.url}")
        if not answer.url.startswith(f"{self._service.url}/"):
            self._complaints.append(f"A request left the service: {answer.url}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def sign_in(page: Page, auth: tuple[str, str]) -> None:
    page.locator("#username").fill(auth[0])
    page.locator("#password").fill(auth[1])
    page.locator("#sign-in button").click()
    expect(page.locator(".board .summary")).to_contain_text(re.compile("task|任务"))


def choose(page: Page, *names: str, content: bytes = SONG) -> None:
    """Choose files with these names, and so send them."""
    files = [{"name": name, "mimeType": "audio/wav", "buffer": content} for name in names]
    page.locator("input[type=file]").first.set_input_files(files)


def send(page: Page, name: str, content: bytes = SONG) -> Any:
    """Choose a file; its row on the board."""
    choose(page, name, content=content)
    return row(page, name)


def row(page: Page, name: str) -> Any:
    return page.locator(".task", has_text=name)


def upload(page: Page, name: str) -> Any:
    """The song among those on their way."""
    return page.locator(".uploads li", has_text=name)


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders of this machine onto the page, as a file manager does."""
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})
    session.detach()


def wait_until(page: Page, expression: str) -> None:
    """Wait until this is true in the page, whose policy keeps Playwright's own `wait_for_function` from polling."""

    def check() -> Any:
        page.wait_for_timeout(20)
        return page.evaluate(expression)

    eventually(check, expression)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
