"""Clients that do not read their responses, download at a crawl, upload at a crawl, or take all connections."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis

from config import read_settings
from tests.support.api import CREDENTIALS, redis_url
from tests.support.api_process import environment, running_api
from tests.support.redis_server import redis_server
from tests.support.slow_clients import connections, get, received
from tests.support.waiting import PATIENCE_S, PROMPT_S
from uvr.storage.factory import open_storage
from uvr.storage.link_key import LinkKey

STEM = bytes(range(256)) * 2**14  # 4 MiB, more than the kernel's buffers take
AUTHORIZATION = "Authorization: Basic " + b64encode(":".join(CREDENTIALS).encode()).decode() + "\r\n"
UPLOAD = (
    f"POST /generate HTTP/1.1\r\nHost: uvr\r\n{AUTHORIZATION}"
    "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 100000000\r\n\r\n"
    '--B\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
).encode() + bytes(2**17)


@dataclass(frozen=True)
class SmallApi:
    """An API with one process of two threads: its address, a link to a stem, and the process of its Redis."""

    url: str
    link: str
    redis_process_id: int


@contextmanager
def small_api(folder: Path, **variables: str) -> Iterator[SmallApi]:
    with redis_server(folder) as redis:
        few = {"API_WORKERS": "1", "API_THREADS": "2", "LOG_LEVEL": "error", **variables}
        with running_api(environment(redis, folder, **few), folder) as (_, url):
            settings = read_settings(redis_url=redis_url(redis.connection_kwargs), output_dir=folder / "output")
            with Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True) as client:
                storage = open_storage(settings, LinkKey(client, settings.redis_task_queue))
                (folder / "stem.wav").write_bytes(STEM)
                storage.put(folder / "stem.wav", "a_vocals.wav", "audio/wav")
                info: Any = client.info("server")
                yield SmallApi(url, storage.url("a_vocals.wav", 3600, url), info["process_id"])


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallApi]:
    """An API that waits for slow clients longer than any test, so what waits for them fails its test."""
    limits = {"CLIENT_TIMEOUT_SECONDS": str(100 * PATIENCE_S), "GUNICORN_CMD_ARGS": "--worker-connections=150"}
    with small_api(tmp_path_factory.mktemp("patient"), **limits) as api:
        yield api


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallApi]:
    """An API that soon gives up on slow clients, and accepts few requests at a time from one address."""
    limits = {
        "CLIENT_TIMEOUT_SECONDS": "2",
        "CLIENT_GRACE_SECONDS": "0.5",
        "CLIENT_MIN_BYTES_PER_SECOND": "10000000",
        "MAX_CONNECTIONS_PER_ADDRESS": "4",
        "TRUSTED_PROXIES": "127.0.0.1,127.0.0.3",
    }
    with small_api(tmp_path_factory.mktemp("strict"), **limits) as api:
        yield api


def assert_answers(url: str) -> None:
    """Check that another client gets its responses."""
    for path in ("/health", "/tasks", "/docs"):
        assert requests.get(f"{url}{path}", auth=CREDENTIALS, timeout=PROMPT_S).status_code == 200
    assert requests.get(f"{url}/ready", timeout=PROMPT_S).status_code == 503  # because no workers run


def body_of(client: socket.socket, size: int) -> bytes:
    """The body of a response, whose head has not been read yet."""
    with client.makefile("rb") as stream:
        while stream.readline() != b"\r\n":
            pass
        return stream.read(size)


def status_of(client: socket.socket) -> int:
    return int(client.recv(4096).split()[1])


def test_clients_that_do_not_read_delay_nobody(patient: SmallApi) -> None:
    url = patient.url
    with connections(url, 60, get(f"{url}/docs") * 10):
        assert_answers(url)


@pytest.mark.parametrize("range_header", ["", "Range: bytes=0-\r\n"], ids=["whole", "range"])
def test_slow_downloads_delay_nobody_and_are_complete(patient: SmallApi, range_header: str) -> None:
    url, link = patient.url, patient.link
    with connections(url, 40, get(link, range_header)) as clients:
        for client in clients:
            client.recv(100)
        assert_answers(url)
        assert requests.get(link, timeout=PROMPT_S).content == STEM
        assert clients[7].recv(10**7)
        with connections(url, 1, get(link, range_header)) as [slow]:
            assert body_of(slow, len(STEM)) == STEM


def test_health_is_answered_while_every_thread_is_busy(patient: SmallApi) -> None:
    url = patient.url
    song = {"audio": "https://songs.example.com/a.mp3"}
    task_uuid = requests.post(f"{url}/generate", json=song, auth=CREDENTIALS, timeout=PROMPT_S).json()["task_uuid"]
    with connections(url, 2, get(f"{url}/tasks/{task_uuid}/events", AUTHORIZATION)), connections(url, 2, UPLOAD):
        for _ in range(5):
            assert requests.get(f"{url}/health", timeout=PROMPT_S).status_code == 200
            assert requests.get(f"{url}/ready", timeout=PROMPT_S).status_code == 503


def test_health_is_answered_while_redis_hangs(patient: SmallApi) -> None:
    url = patient.url
    os.kill(patient.redis_process_id, signal.SIGSTOP)
    try:
        with connections(url, 2, get(f"{url}/tasks", AUTHORIZATION)) as earlier:
            assert requests.get(f"{url}/health", timeout=PROMPT_S).status_code == 503
            assert not select.select(earlier, [], [], 0)[0]  # these wait for Redis five times as long
            assert requests.get(f"{url}/ready", timeout=PROMPT_S).status_code == 503
    finally:
        os.kill(patient.redis_process_id, signal.SIGCONT)


def test_a_client_that_stops_reading_is_disconnected(strict: SmallApi) -> None:
    url, link = strict.url, strict.link
    with connections(url, 4, get(link), source="127.0.0.2") as clients:
        # The address has no more requests: a client that waits for them to end gets an answer once they were given up.
        while requests_refused(url, "127.0.0.2"):
            time.sleep(0.1)
        assert all(len(received(client)) < len(STEM) for client in clients)


def requests_refused(url: str, source: str) -> bool:
    """Whether a request from this address is refused because it has too many."""
    with connections(url, 1, get(f"{url}/docs"), source=source) as [client]:
        return status_of(client) == 429


def test_silent_connections_from_many_addresses_make_room_for_others(patient: SmallApi) -> None:
    with ExitStack() as stack:
        for number in range(2, 8):
            stack.enter_context(connections(patient.url, 50, source=f"127.0.0.{number}"))
        assert_answers(patient.url)


def test_an_address_with_too_many_requests_is_told_so(strict: SmallApi) -> None:
    url, link = strict.url, strict.link
    with ExitStack() as stack:
        stack.enter_context(connections(url, 4, get(link), source="127.0.0.2"))
        silent = stack.enter_context(connections(url, 40, source="127.0.0.2"))
        [refused, probe] = (
            stack.enter_context(connections(url, 1, get(f"{url}{path}"), source="127.0.0.2"))[0]
            for path in ("/tasks", "/health")
        )
        head, _, body = received(refused).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: " in head
        assert "address" in json.loads(body)["detail"]
        assert status_of(probe) == 200
        assert received(silent[0]) == b""  # closed in favor of later ones
        assert_answers(url)


def test_streams_of_events_of_an_address_are_counted_apart(strict: SmallApi) -> None:
    url = strict.url
    source = "127.0.0.4"
    with connections(url, 4, get(f"{url}/events", AUTHORIZATION), source=source) as streams:
        assert {status_of(client) for client in streams} == {200}
        with connections(url, 1, get(f"{url}/events?own=true", AUTHORIZATION), source=source) as [refused]:
            assert status_of(refused) == 429
        with connections(url, 4, get(f"{url}/tasks", AUTHORIZATION), source=source) as others:
            assert {status_of(client) for client in others} == {200}


def test_a_trusted_proxy_may_have_any_number_of_requests(strict: SmallApi) -> None:
    url, link = strict.url, strict.link
    with connections(url, 20, get(link), source="127.0.0.3") as clients:
        assert {status_of(client) for client in clients} == {200}


def test_a_body_that_arrives_too_slowly_is_a_408(strict: SmallApi) -> None:
    url = strict.url
    with connections(url, 1, UPLOAD) as [client]:
        client.settimeout(0.05)
        answer = b""
        while not answer:
            client.sendall(bytes(10_000))
            try:
                answer = client.recv(4096)
            except TimeoutError:
                continue
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert "too slowly" in json.loads(body)["detail"]


def test_small_requests_on_one_connection_are_answered_in_order(patient: SmallApi) -> None:
    url, link = patient.url, patient.link
    path = urlsplit(link)
    part = f"{path.path}?{path.query}"
    request = f"GET {part} HTTP/1.1\r\nHost: uvr\r\nRange: bytes={{}}-{{}}\r\n{{}}\r\n"
    ranges = [(start, start + 999) for start in range(0, 5000, 1000)]
    text = "".join(request.format(*it, "" if it != ranges[-1] else "Connection: close\r\n") for it in ranges)
    with connections(url, 1, text.encode()) as [client]:
        answers = received(client)
    assert answers.count(b"HTTP/1.1 206 ") == 5
    assert answers.endswith(STEM[4000:5000])
