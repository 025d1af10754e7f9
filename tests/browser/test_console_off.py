"""CONSOLE=off: a browser gets the same few lines as curl, and none of the page's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.support.service import Service
from tests.support.waiting import eventually


@pytest.fixture
def without_page(service, tmp_path):
    """The API of `service` once more, without the page."""
    redis_url, model_dir = (service.environment[name] for name in ("REDIS_URL", "MODEL_FILE_DIR"))
    other = Service(tmp_path, redis_url, Path(model_dir), CONSOLE="off")
    other.start("app")
    eventually(other.health, "the API answers", 60)
    yield other
    other.stop()


def test_without_the_page_a_browser_reads_what_the_service_is(browser, without_page):
    context = browser.new_context()
    page = context.new_page()
    page.goto(without_page.url)
    expect(page.locator("body")).to_contain_text("splits songs into stems")
    expect(page.locator("body")).to_contain_text(f"{without_page.url}/docs")
    assert page.locator("script, form, link").count() == 0
    context.close()
    for path in ("console/console.js", "console/index.html", "console/texts/en.js"):
        assert requests.get(f"{without_page.url}/{path}", timeout=20).status_code == 404
