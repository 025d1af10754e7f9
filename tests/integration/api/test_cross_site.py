"""Which names and origins are the service's own: on loopback, behind a proxy, and in a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, settings_for

Opener = Callable[..., FlaskClient]
IN_NETWORK = {"api_host": "0.0.0.0"}
IN_CONTAINER = {"api_host": "0.0.0.0", "api_published": "127.0.0.1:9000"}


@pytest.fixture
def opened(redis_client: Redis, tmp_path: Path) -> Iterator[Opener]:
    """A client of an API with these settings."""
    with ExitStack() as stack:

        def open_with(**settings: Any) -> FlaskClient:
            chosen = settings_for(redis_client.get_connection_kwargs(), tmp_path, **{"public_base_url": "", **settings})
            return stack.enter_context(application(chosen)).test_client()

        yield open_with


def asked(client: FlaskClient, host: str, peer: str = "127.0.0.1") -> int:
    """The status of the answer to a GET under this name."""
    answer = client.get("/tasks", headers={"Host": host}, auth=CREDENTIALS, environ_overrides={"REMOTE_ADDR": peer})
    return answer.status_code


def changed(
    client: FlaskClient, origin: str, host: str = "127.0.0.1:8000", peer: str = "127.0.0.1", **more: str
) -> int:
    """The status of the answer to a DELETE that a page of this origin sends: 404 if it was let through."""
    headers = {"Origin": origin, "Host": host, **{name.replace("_", "-"): value for name, value in more.items()}}
    peers = {"REMOTE_ADDR": peer}
    answer = client.delete(f"/tasks/{'0' * 32}", headers=headers, auth=CREDENTIALS, environ_overrides=peers)
    assert answer.status_code != 403 or "ALLOWED_ORIGINS" in answer.json["error"]
    return answer.status_code


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "localhost:8000"),
        ({"api_host": "127.0.0.9"}, "127.0.0.9:8000"),
        (IN_CONTAINER, "127.0.0.1:9000"),
        ({"public_base_url": "https://stems.example.com/uvr"}, "stems.example.com"),
        ({"public_base_url": "https://stems.example.com:8443"}, "stems.example.com:80"),
        ({"allowed_hosts": "stems.example.com"}, "Stems.Example.com:8443"),
        ({"allowed_hosts": "[fd00::5]:8000"}, "[fd00::5]:8000"),
        (IN_NETWORK, "any.example"),
        (IN_NETWORK | {"allowed_hosts": "stems.example.com"}, "any.example"),
        ({"api_host": "0.0.0.0", "api_published": "192.168.1.5:9000"}, "any.example"),
    ],
)
def test_names_of_the_service_are_answered(opened: Opener, settings: dict[str, str], host: str) -> None:
    assert asked(opened(**settings), host) == 200


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "stems.example.com"),
        (IN_CONTAINER, "stems.example.com"),
        (IN_CONTAINER, "api:8000"),
        ({"public_base_url": "https://stems.example.com"}, "evil.stems.example.com"),
        ({"allowed_hosts": "stems.example.com:8000"}, "stems.example.com:9000"),
        ({}, "127.0.0.1@evil.example"),
        ({}, "127.0.0.1, evil.example"),
    ],
)
def test_other_names_are_refused_on_loopback(opened: Opener, settings: dict[str, str], host: str) -> None:
    assert asked(opened(**settings), host) == 421


def test_a_scraper_may_ask_for_the_metrics_under_any_name_but_needs_its_token(opened: Opener) -> None:
    client = opened(**IN_CONTAINER, metrics_token="a-token-for-the-scraper")
    scraped = {"base_url": "http://api:8000", "environ_base": {"REMOTE_ADDR": "172.18.0.5"}}
    assert client.get("/metrics", **scraped).status_code == 401
    token = {"Authorization": "Bearer a-token-for-the-scraper"}
    assert client.get("/metrics", headers=token, **scraped).status_code == 200
    assert client.get("/tasks", headers=token, **scraped).status_code == 421


def test_a_proxy_that_is_trusted_or_on_a_unix_socket_checks_names_itself(opened: Opener) -> None:
    client = opened(trusted_proxies="127.0.0.0/8,172.16.0.0/12")
    assert asked(client, "stems.example.com") == 200
    assert asked(client, "stems.example.com", peer="::ffff:172.18.0.3") == 200
    assert asked(client, "stems.example.com", peer="198.51.100.7") == 421
    assert asked(opened(), "stems.example.com", peer="") == 200


@pytest.mark.parametrize(
    ("settings", "origin", "host"),
    [
        ({}, "http://127.0.0.1:8000", "127.0.0.1:8000"),
        ({}, "http://localhost:8000", "localhost:8000"),
        (IN_NETWORK, "http://192.168.1.5:8000", "192.168.1.5:8000"),
        # Proxies with HTTPS: one that forwards the name, one that does not, one that adds the port.
        ({"allowed_hosts": "stems.example.com"}, "https://stems.example.com", "stems.example.com"),
        ({"public_base_url": "https://stems.example.com:443/uvr"}, "https://stems.example.com", "127.0.0.1:8000"),
        (IN_NETWORK, "https://stems.example.com", "stems.example.com:443"),
        ({"allowed_origins": "https://app.example.com"}, "https://app.example.com", "127.0.0.1:8000"),
    ],
)
def test_pages_of_the_service_may_change_something(
    opened: Opener, settings: dict[str, str], origin: str, host: str
) -> None:
    assert changed(opened(**settings), origin, host) == 404


@pytest.mark.parametrize(
    ("settings", "origin", "host"),
    [
        ({}, "http://127.0.0.1:3000", "127.0.0.1:8000"),
        ({}, "https://evil.example", "127.0.0.1:8000"),
        ({}, "null", "127.0.0.1:8000"),
        ({}, "://", "127.0.0.1:8000"),
        (IN_NETWORK, "http://evil.example", "192.168.1.5:8000"),
        (IN_NETWORK | {"allowed_hosts": "stems.example.com"}, "http://evil.example", "evil.example"),
        ({"allowed_origins": "https://app.example.com"}, "http://app.example.com", "127.0.0.1:8000"),
    ],
)
def test_pages_of_other_sites_may_not(opened: Opener, settings: dict[str, str], origin: str, host: str) -> None:
    assert changed(opened(**settings), origin, host) == 403


def test_only_a_trusted_proxy_says_which_host_was_asked_for(opened: Opener) -> None:
    client = opened(trusted_proxies="10.0.0.0/8", api_host="0.0.0.0")
    forwarded = {"X_Forwarded_Host": "evil.example, stems.example.com"}
    assert changed(client, "https://stems.example.com", "api:8000", "10.1.2.3", **forwarded) == 404
    assert changed(client, "https://evil.example", "api:8000", "10.1.2.3", **forwarded) == 403
    assert changed(client, "https://stems.example.com", "api:8000", "198.51.100.7", **forwarded) == 403


def test_the_word_of_the_browser_comes_before_the_origin(opened: Opener) -> None:
    client = opened(allowed_origins="https://app.example.com")
    behind_proxy = "https://stems.example.com"
    assert changed(client, behind_proxy, Sec_Fetch_Site="same-origin") == 404
    assert changed(client, "null", Sec_Fetch_Site="same-origin") == 404
    assert changed(client, "http://127.0.0.1:8000", Sec_Fetch_Site="same-site") == 403
    assert changed(client, "http://127.0.0.1:8000", Sec_Fetch_Site="cross-site, same-origin") == 403
    assert changed(client, behind_proxy, Sec_Fetch_Site="none") == 403
    assert changed(client, "https://app.example.com", Sec_Fetch_Site="cross-site") == 404


def test_reading_needs_no_origin_of_its_own(opened: Opener) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    client = opened()
    assert client.get("/health", headers=headers).status_code == 200
    assert client.head("/health", headers=headers).status_code == 200
    assert client.options("/generate", headers=headers).status_code == 200
