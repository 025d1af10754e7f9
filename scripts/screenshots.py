"""`make screenshots`: the pictures of the page in README and docs/console.md, of a real run.

It starts the service as the demo does, sends songs that it makes itself, lets them be separated, and takes each picture
in headless Chromium once the page shows what the picture is about. A second run gives similar pictures: the same songs,
states and positions, with other times. SONG=path puts your own song into the mixer.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from config import ROOT, Settings, load_settings
from scripts.demo import client_of, demo_variables
from scripts.local.process import Process
from scripts.local.stack import Folders, Stack, say
from scripts.synthetic_song import make_song
from uvr import logs
from uvr.client import Client

IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 300_000
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE_S = 120

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_VARIABLES = {
    "HEARTBEAT_SECONDS": "0.5",  # the progress that pictures show is as new as the last heartbeat
    "MAX_AUDIO_BYTES": str(32 * 2**20),
    "WEBHOOK_RETRY_SECONDS": "1",
}
_UPLOAD_BYTES_PER_SECOND = 6_000_000

# Inter is drawn much like the system fonts of macOS and Windows, and is free.
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>"""


class Studio:
    """A browser and a running service; every picture is taken in a window of its own."""

    def __init__(self, browser: Browser, settings: Settings, images: Path) -> None:
        self._browser = browser
        self._settings = settings
        self._images = images

    @contextmanager
    def window(
        self,
        address: str = "",
        *,
        dark: bool = False,
        phone: bool = False,
        chinese: bool = False,
        signed_in: bool = True,
    ) -> Iterator[Page]:
        """The page at #/`address`, signed in as the admin."""
        context = self._browser.new_context(
            viewport=PHONE if phone else DESKTOP,
            device_scale_factor=2 if phone else 1.5,
            is_mobile=phone,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            locale="zh-CN" if chinese else "en-US",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(f"{self._settings.local_url}/#/{address}")
        page.locator("#password").wait_for()
        if signed_in:
            page.locator("#username").fill(self._settings.basic_auth_username)
            page.locator("#password").fill(self._settings.basic_auth_password.get_secret_value())
            page.locator("#sign-in [type=submit]").click()
            page.locator("#account").wait_for()
        yield page
        context.close()

    def take(self, page: Page, name: str) -> None:
        """Save what the page shows, without the focus that typing and clicking have left."""
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        path = self._images / f"{name}.png"
        page.screenshot(path=path, scale="device")
        say(f"  {path.name}  {path.stat().st_size // 1000} KB")


def show_first_visit(studio: Studio) -> None:
    """Sign in, and see a board without tasks."""
    with studio.window(signed_in=False) as page:
        studio.take(page, "sign-in")
    with studio.window(dark=True) as page:
        page.locator(".board .empty h2").wait_for()
        studio.take(page, "empty")


def show_mixer(studio: Studio, task_uuid: str) -> None:
    """The mixer with a loop in the second third of the song; on the phone with soloed vocals."""
    for name, dark, phone in (("mixer", False, False), ("mixer-dark", True, False), ("mixer-phone", True, True)):
        with studio.window(f"tasks/{task_uuid}", dark=dark, phone=phone) as page:
            lane = page.locator(".lane.waveform").first
            lane.wait_for()
            box = lane.bounding_box()
            assert box
            height = box["y"] + 20
            page.mouse.move(box["x"] + box["width"] * 0.36, height)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.62, height, steps=5)
            page.mouse.up()
            if phone:
                page.locator(".strip .toggle").first.click()
            studio.take(page, name)


def show_busy_board(studio: Studio, songs: list[Path]) -> None:
    """Songs on their way, one of them too large, beside tasks in all states; the same list in Chinese on a phone."""
    with studio.window() as page:
        throttle = page.context.new_cdp_session(page)
        throttle.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": _UPLOAD_BYTES_PER_SECOND},
        )
        page.locator("input[type=file]").first.set_input_files(songs)
        page.locator(".uploads .is-failed").wait_for()
        expect(page.locator(".uploads .share").first).to_have_text(re.compile(r"^[3-9]\d %"))
        studio.take(page, "busy")
    with studio.window(phone=True, chinese=True) as page:
        page.locator(".task").first.wait_for()
        page.locator(".board").evaluate("board => board.scrollIntoView()")
        studio.take(page, "busy-phone")


def show_failure(studio: Studio) -> None:
    """Why a task has failed, and what to do, on a phone."""
    with studio.window(phone=True) as page:
        page.locator("#filter").select_option("failed")
        page.locator(".task .actions button").last.click()
        page.locator("dialog .explanation").wait_for()
        studio.take(page, "failed-phone")


def show_operator(studio: Studio) -> None:
    """Queues, workers and dead letters."""
    with studio.window("admin", dark=True) as page:
        page.locator(".operator table").first.wait_for()
        studio.take(page, "operator")


def songs_to_send(folder: Path) -> list[Path]:
    """Songs for the form; the first is too large for this service."""
    too_large = folder / "A whole evening, live.wav"
    with too_large.open("wb") as file:
        file.truncate(48 * 2**20)
    return [too_large, *(make_song(folder / f"{name}.wav", 96) for name in ("Glass Mountain", "Second Moon", "Kites"))]


def finish_songs(client: Client, folder: Path, song: Path | None) -> str:
    """Songs that are separated, and two that fail; the id of the first."""
    first = song or make_song(folder / "Paper Lanterns.wav", 128)
    tasks = [client.submit(first), client.submit(make_song(folder / "雨后的街道.wav", 64), output_format="flac")]
    note = folder / "Scan of the score.mp3"
    note.write_bytes(b"%PDF-1.7 a document, not a song" * 100)
    tasks += [client.submit(note), client.submit("https://music.invalid/albums/slow%20tram%20home.mp3")]
    tasks.append(client.submit(make_song(folder / "Northern Harbour.wav", 64), hook_url="http://127.0.0.1:1/hook"))
    for task in tasks:
        client.wait(task.task_uuid)
    return tasks[0].task_uuid


@contextmanager
def songs_at_work(client: Client, folder: Path, processor: Process) -> Iterator[None]:
    """One song half way through the network, others waiting, and one cancelled, while the processor is halted."""
    long = make_song(folder / "The Long Way Round.wav", 180)
    names = ("Morning Ferry", "Salt and Cedar", "Half a Postcard", "Lighthouse Keeper", "Tin Drum Waltz")
    others = [make_song(folder / f"{name}.wav", 96) for name in names]
    running = client.submit(long)
    waiting = [client.submit(song, priority=2) for song in others]
    client.cancel(waiting[1].task_uuid)
    _until(lambda: client.get(running.task_uuid).progress > 0.3, "a song is half way through the network")
    pid = processor.pid()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It took more than {PATIENCE_S} s until {what}.")
        time.sleep(0.05)


def take_pictures(folder: Path, images: Path, song: Path | None = None) -> None:
    """Take all pictures of a service with its files in `folder`, which is stopped at the end."""
    settings = load_settings()
    stack = Stack(settings, Folders(folder / "run", folder / "logs", folder / "redis"))
    (folder / "fonts.conf").write_text(_FONTS)
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)))
    expect.set_options(timeout=1000 * PATIENCE_S)
    try:
        stack.start()
        with sync_playwright() as playwright, client_of(settings) as client:
            browser = playwright.chromium.launch(
                executable_path=program,
                args=["--no-sandbox", "--font-render-hinting=none"],
                env={**os.environ, "FONTCONFIG_FILE": str(folder / "fonts.conf")},
            )
            studio = Studio(browser, settings, images)
            show_first_visit(studio)
            show_mixer(studio, finish_songs(client, folder, song))
            songs = songs_to_send(folder)
            processor = next(service for service in stack.services if service.name == "processor")
            with songs_at_work(client, folder, processor):
                show_busy_board(studio, songs)
                show_operator(studio)
                show_failure(studio)
            browser.close()
    finally:
        stack.stop()


def main() -> int:
    """`python -m scripts.screenshots [SONG] [--into FOLDER]`; 1 if a picture is too large."""
    parser = argparse.ArgumentParser(description="Takes the pictures of the page, of a real run.")
    parser.add_argument("song", nargs="?", default="", help="a song for the mixer, instead of one that is made")
    parser.add_argument("--into", type=Path, default=IMAGES, help="where the pictures go")
    arguments = parser.parse_args()
    song = Path(arguments.song).expanduser() if arguments.song else None
    if song and not song.is_file():
        say(f"There is no file {song}.")
        return 1
    logs.configure("error", "auto", process="screenshots")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments.into.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="uvr-screenshots-") as name:
        os.environ.update({**demo_variables(Path(name), os.environ), **_VARIABLES})
        take_pictures(Path(name), arguments.into, song)
    too_large = [path.name for path in arguments.into.iterdir() if path.stat().st_size > MAX_BYTES]
    if too_large:
        say(f"More than {MAX_BYTES // 1000} KB: {', '.join(sorted(too_large))}")
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
