"""A headless Chromium, the running service, and a server of pages and songs, each for the whole session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from config import ROOT
from tests.browser.range_server import RangeServer, range_server
from tests.support.redis_server import redis_server
from tests.support.service import Service, running_service
from uvr.models import store

playwright_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test-browser installs it")

from tests.browser.visits import MARY, PAGES, Visits, watch  # noqa: E402  # they need Playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--autoplay-policy=no-user-gesture-required",
    "--no-sandbox",  # root in a container has no user namespaces
]
LONGEST = ("test_mixer_memory.py", "test_mixer_drift.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that play for a minute and more, so that no process ends with one of them alone."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


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


@pytest.fixture(autouse=True)
def complaints(browser: playwright_api.Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is wrong with any window that the test opens. A test with complaints fails."""
    complaints: list[str] = []
    new_context = browser.new_context

    def watched_context(**options: Any) -> playwright_api.BrowserContext:
        context = new_context(**options)
        watch(context, complaints)
        return context

    monkeypatch.setattr(browser, "new_context", watched_context)
    yield complaints
    assert not complaints


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    """The service with real separation; its users are the admin and `MARY`. No task is tried twice."""
    folder = tmp_path_factory.mktemp("service")
    users = folder / "users"
    users.write_text(f"{MARY[0]}:{bcrypt.hashpw(MARY[1].encode(), bcrypt.gensalt(4)).decode()}\n")
    users.chmod(0o600)
    store.ensure_model_file("Spleeter-2stems", model_dir)
    (folder / "redis").mkdir()
    settings = {"BASIC_AUTH_USERS_FILE": str(users), "MAX_ATTEMPTS": "1"}
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", model_dir, **settings) as service,
    ):
        yield service


@pytest.fixture
def visit(browser: playwright_api.Browser, service: Service, complaints: list[str]) -> Iterator[Visits]:
    """Opens the page of the service in a window of its own, signed in as a user or not."""
    visits = Visits(browser.new_context, service, complaints)
    yield visits
    visits.close()


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
    """A new page."""
    page = open_page()
    yield page
    page.context.close()
