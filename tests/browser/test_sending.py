"""Songs on their way to the service: several at once, folders, and what becomes of them when something fails."""

from __future__ import annotations

import json
import re
import signal
import time

import requests
from playwright.sync_api import Page, Route, expect
from redis import Redis

from tests.browser.visits import MARY, SONG, assert_accessible, choose, drop, row, send, sign_in, upload
from tests.support.service import AUTH


def test_several_songs_go_at_once_and_each_shows_its_progress(visit):
    page = visit()
    held: list[Route] = []
    is_held = True
    page.route("**/generate", lambda route: held.append(route) if is_held else route.continue_())
    names = [f"several {number}.wav" for number in range(4)]
    choose(page, *names)
    expect(page.locator(".uploads h2")).to_have_text("Sending 4 songs")
    expect(page.locator(".uploads progress:visible")).to_have_count(2)
    page.wait_for_timeout(200)
    assert len(held) == 2, "two at a time"
    is_held = False
    for route in held:
        route.continue_()
    for name in names:
        expect(row(page, name).locator(".state")).to_have_text("finished")
    expect(page.locator(".uploads")).to_be_hidden()


def test_folders_that_are_dropped_give_their_songs_and_leave_out_the_rest(visit, tmp_path):
    album = tmp_path / "album"
    (album / "disc 2").mkdir(parents=True)
    for name in ("one.wav", "disc 2/two.wav"):
        (album / name).write_bytes(SONG)
    for name in ("cover.jpg", "list.m3u", "disc 2/.hidden"):
        (album / name).write_bytes(b"not a song")
    (tmp_path / "beside.wav").write_bytes(SONG)
    page = visit(MARY)
    drop(page, album, tmp_path / "beside.wav")
    for name in ("one.wav", "two.wav", "beside.wav"):
        expect(row(page, name).locator(".state")).to_have_text("finished")
    expect(page.locator(".uploads")).to_be_hidden()
    for name in ("cover.jpg", "list.m3u", ".hidden"):
        expect(row(page, name)).to_have_count(0)


def test_a_chosen_folder_gives_its_songs_and_one_without_songs_says_so(visit, tmp_path):
    for folder, name in (("album", "of a folder.wav"), ("pictures", "cover.jpg")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(SONG)
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(tmp_path / "album")
    expect(row(page, "of a folder.wav")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(tmp_path / "pictures")
    expect(page.get_by_role("alert")).to_have_text("There are no songs in it.")


def test_an_upload_that_is_refused_says_why_and_is_sent_again(visit):
    page = visit(refusals=True)
    answer = {"status": 413, "body": json.dumps({"detail": "The song is too large: <b>500 MB</b> at most."})}
    page.route("**/generate", lambda route: route.fulfill(**answer))
    song = send(page, "again.wav")
    failed = upload(page, "again.wav")
    expect(failed).to_contain_text("The song is too large: <b>500 MB</b> at most.")
    assert_accessible(page)
    page.unroute("**/generate")
    failed.get_by_role("button", name="Send again").click()
    expect(failed).to_have_count(0)
    expect(song.locator(".state")).to_have_text("finished")


def test_a_service_that_is_gone_is_said_and_nothing_is_lost(visit, service):
    page = visit(refusals=True)
    service.kill("app", signal.SIGTERM)
    try:
        song = send(page, "while it was gone.wav")
        failed = upload(page, "while it was gone.wav")
        expect(failed).to_contain_text("The connection broke off")
        expect(page.locator(".connection")).to_have_text("The connection is lost. Connecting again…")
        assert_accessible(page)
    finally:
        service.start("app")
    expect(page.locator(".connection")).to_have_text("", timeout=40_000)
    failed.get_by_role("button", name="Send again").click()
    expect(song.locator(".state")).to_have_text("finished")
    expect(song).to_have_count(1)


def expire(service, user: str) -> None:
    """End the sessions of a user, as the clock does."""
    with Redis.from_url(service.environment["REDIS_URL"]) as client:
        for key in client.scan_iter(f"*:sessions:{user}"):
            for session in client.zrange(key, 0, -1):
                client.zadd(key, {session: time.time() - 1})


def slow_down(page: Page, bytes_per_s: int) -> None:
    """Limit how fast the page sends."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)


def test_a_session_that_expires_while_a_song_is_sent_loses_nothing(visit, service):
    page = visit(MARY, refusals=True)
    slow_down(page, 200_000)
    content = SONG + bytes(400_000)
    choose(page, "expired 1.wav", "expired 2.wav", "expired 3.wav", content=content)
    expect(upload(page, "expired 1.wav")).to_contain_text(re.compile(r"\d+ %"))
    expire(service, MARY[0])
    expect(page.locator("#sign-in")).to_contain_text("Your session is over")
    expect(page.locator(".uploads")).to_be_hidden()
    slow_down(page, -1)
    sign_in(page, MARY)
    for name in ("expired 1.wav", "expired 2.wav", "expired 3.wav"):
        expect(row(page, name).locator(".state")).to_have_text("finished")
        expect(row(page, name)).to_have_count(1)
    expect(page.locator(".uploads")).to_be_hidden()


SILENT_STREAM = """
window.EventSource = class extends EventTarget {
  constructor() {
    super();
    const data = JSON.stringify({ tasks: [], more: false, left_out: false });
    setTimeout(() => this.dispatchEvent(new MessageEvent("all", { data })));
  }
  close() {}
};
"""
"""A stream that does not notice the end of the session, so that only the upload does."""


def test_a_large_song_that_meets_an_expired_session_asks_to_sign_in_and_goes_on(visit, service, tmp_path):
    (tmp_path / "large.wav").write_bytes(SONG + bytes(10_000_000))
    page = visit(MARY, refusals=True, script=SILENT_STREAM)
    expire(service, MARY[0])
    page.locator("input[type=file]").first.set_input_files(tmp_path / "large.wav")
    expect(page.locator("#sign-in")).to_contain_text("Your session is over")
    sign_in(page, MARY)
    expect(page.locator("#announcements")).to_contain_text("large.wav was sent")
    listed = requests.get(f"{service.url}/tasks", auth=MARY, timeout=20).json()["tasks"]
    assert [task["audio"] for task in listed].count("large.wav") == 1


def test_another_user_who_signs_in_sends_nothing_of_the_first(visit, service):
    page = visit(MARY, refusals=True)
    page.route("**/generate", lambda route: route.fulfill(status=500, body="{}"))
    send(page, "marys own.wav")
    expect(upload(page, "marys own.wav")).to_contain_text("failed")
    page.unroute("**/generate")
    expire(service, MARY[0])
    expect(page.locator("#sign-in")).to_contain_text("Your session is over")
    sign_in(page, AUTH)
    expect(page.locator(".uploads")).to_be_hidden()


THOUSANDS = """(count) => {
  const dataTransfer = new DataTransfer();
  for (let number = 0; number < count; number++) dataTransfer.items.add(new File(["x"], `dropped ${number}.wav`));
  const start = performance.now();
  document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  return performance.now() - start;
}"""


def test_ten_thousand_files_are_a_short_list_that_can_be_left_out_at_once(visit):
    page = visit()
    page.route("**/generate", lambda _: None)  # they stay on their way
    page.evaluate(THOUSANDS, 10_000)
    expect(page.locator(".uploads h2")).to_have_text("Sending 10000 songs")
    assert page.locator(".uploads li").count() <= 30
    page.get_by_role("button", name="Leave out all").click()
    expect(page.locator(".uploads")).to_be_hidden()


def test_the_choice_of_a_model_shows_its_stems_and_its_license(visit):
    stems = ["bass", "drums", "other", "vocals", "guitar", "piano", "instrumental"]
    six = {"name": "six.ckpt", "title": "Six", "stems": stems, "license": "none found", "commercial_use": "unknown"}
    kim = {"name": "kim.ckpt", "title": "Kim", "stems": ["vocals"], "license": "MIT", "commercial_use": "allowed"}
    own = {"name": "own.ckpt", "title": "own.ckpt", "stems": [], "license": "", "commercial_use": "unknown"}
    best = {"name": "best", "purpose": "the best", "offered": True, "model": "kim.ckpt"}
    offers = {"models": [{**model, "offered": True} for model in (own, six, kim)], "presets": [best]}
    page = visit()
    page.route("**/models", lambda route: route.fulfill(json={**offers, "default": "own.ckpt"}))
    page.reload()
    about, choice = page.locator("#about-model"), page.locator("#model")
    expect(page.locator("#model option", has_text="Standard: own.ckpt")).to_have_count(1)
    expect(about).to_be_hidden()
    choice.select_option("six.ckpt")
    expect(about).to_have_text("License: none found. Commercial use: unknown.")
    expect(page.locator(".stems input")).to_have_count(len(stems))
    choice.select_option("best")
    expect(about).to_have_text("At the moment this is Kim. License: MIT. Commercial use: allowed.")
    assert_accessible(page)
