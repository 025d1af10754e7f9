"""How much memory the page of a long song takes: the resident size of its renderer, against the page without a song.

No debugger is attached, as it would keep what the page has fetched in the renderer.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.browser.range_server import RangeServer
from tests.browser.wavs import long_wav

MAX_GROWTH_BYTES = 60 * 10**6
MAX_START_MS = 1000
"""Of the median of sixty starts, so that a busy machine matters little."""


@pytest.fixture
def lone_chromium(chromium, tmp_path):
    """A function that opens a page in a Chromium of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def open_page(url: str) -> None:
        options = ["--headless", "--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        command = [chromium, *options, f"--user-data-dir={tmp_path}", "--remote-debugging-port=0", url]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield open_page
    for process in started:
        process.terminate()
        process.wait(30)


def resident_bytes_of_renderers(profile: Path) -> dict[int, int]:
    """The resident size by process id of the renderers of the Chromium with this profile."""
    sizes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "status").read_text()
        except OSError:  # it has just ended
            continue
        if b"--type=renderer" in command and str(profile).encode() in command:
            sizes[int(folder.name)] = int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024
    return sizes


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the resident size from /proc")
def test_an_hour_of_two_stems_takes_less_than_60_mb_while_it_plays_and_jumps(lone_chromium, server, tmp_path):
    for seed, stem in enumerate(("vocals", "instrumental")):
        server.files[f"/hour/{stem}.wav"] = long_wav(3600, seed)
    lone_chromium(f"{server.url}/pages/hour.html")
    idle: dict[int, int] = {}
    growth_bytes, deadline = 0, time.monotonic() + 300
    while "playing" not in (told := things_told(server)):
        assert time.monotonic() < deadline, "it did not play to the end"
        time.sleep(0.25)
        sizes = resident_bytes_of_renderers(tmp_path)
        if not idle and "idle" in told:
            idle = sizes
        growth_bytes = max(growth_bytes, *(size - idle[pid] for pid, size in sizes.items() if pid in idle), 0)
    assert 10 * 2**20 < growth_bytes < MAX_GROWTH_BYTES, "what is scheduled is decoded, and so takes some memory"
    [median_start_ms] = [int(it.removeprefix("start/")) for it in told if it.startswith("start/")]
    assert median_start_ms < MAX_START_MS


def things_told(server: RangeServer) -> list[str]:
    """What the page has asked for to tell how far it is."""
    return [path.removeprefix("/told/") for path, _ in list(server.requests) if path.startswith("/told/")]
