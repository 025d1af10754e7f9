"""The first minutes of a new user: one drop and one click, and the vocals are heard alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from scripts.synthetic_song import make_song
from tests.browser.listening import Recording, difference_db, place_in
from tests.support.audio import read_audio
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from tests.support.waiting import PATIENCE_S
from uvr.models import store

PAGES = Path(__file__).parent / "pages"
SETTLED = 4000
"""Samples until the gains have reached their values."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("first-song")
    (folder / "redis").mkdir()
    store.ensure_model_file("Spleeter-2stems", model_dir)
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", model_dir) as service,
    ):
        yield service


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose sound is recorded; the policy of the page does not allow that to others."""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    recorder = json.dumps((PAGES / "recorder.js").read_text())
    page.add_init_script(f"window.recorderCode = {recorder};\n{(PAGES / 'tap.js').read_text()}")
    yield page
    context.close()


def test_one_drop_and_one_click_let_a_new_user_hear_the_vocals_alone(page: Page, service: Service, tmp_path: Path):
    page.goto(service.url)
    page.locator("#username").fill(AUTH[0])
    page.locator("#password").fill(AUTH[1])
    page.locator("#sign-in [type=submit]").click()
    page.locator("input[type=file]").first.set_input_files(make_song(tmp_path / "First song.wav", 16))
    vocals = page.locator(".task", has_text="First song").get_by_role("link", name="Vocals: play alone")
    vocals.click(timeout=1000 * PATIENCE_S)
    page.wait_for_function("document.querySelector('.mixer')?.dataset.state === 'playing'")
    page.wait_for_function("Number(document.querySelector('.axis input').value) >= 10")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Solo: Vocals")).to_have_attribute("aria-pressed", "true")
    heard = Recording.of(page).sound().samples[:-SETTLED]
    task = page.url.split("/tasks/")[1].split("/")[0]
    answer = requests.get(f"{service.url}/tasks/{task}/stems/vocals", auth=AUTH, timeout=PATIENCE_S)
    stem = read_audio(answer.content).T
    first = place_in(stem, heard, at=int(np.nanargmax(np.abs(heard[:-SETTLED, 0]))))
    expected = stem[first + SETTLED : first + len(heard)]
    assert np.abs(expected).max() > 0.05
    assert difference_db(heard[SETTLED:], expected) < -40
