"""A headless Chromium and a server of pages and songs for it, each for the whole session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import ROOT
from tests.browser.range_server import RangeServer, range_server

playwright_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test-browser installs it")

PAGES = Path(__file__).parent / "pages"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--autoplay-policy=no-user-gesture-required",
    "--no-sandbox",  # root in a container has no user namespaces
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium of this machine, or the program that CHROMIUM names."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    return program or pytest.skip("needs Chromium: apt-get install chromium, or CHROMIUM=/path/to/it")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[playwright_api.Browser]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator[RangeServer]:
    with range_server({"/web": ROOT / "web", "/pages": PAGES}) as server:
        yield server


@pytest.fixture(scope="session")
def open_page(browser: playwright_api.Browser, server: RangeServer) -> Callable[..., playwright_api.Page]:
    """A function that opens the mixer's page in a window of its own."""

    def open_page(**options: object) -> playwright_api.Page:
        page = browser.new_context(**options).new_page()
        page.goto(f"{server.url}/pages/mixer.html")
        page.wait_for_function("window.isReady")
        return page

    return open_page


@pytest.fixture
def page(open_page: Callable[..., playwright_api.Page]) -> Iterator[playwright_api.Page]:
    """A new page, which must write no errors into the console."""
    page = open_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.context.close()
    assert not errors
