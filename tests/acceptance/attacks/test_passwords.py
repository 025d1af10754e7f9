"""Clients who guess names, passwords and tokens: they get few guesses, take up no threads, and lock out no one else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from tests.support.api import CREDENTIALS, USER, credentials, htpasswd
from tests.support.api_process import environment, running_api
from tests.support.redis_server import redis_server
from tests.support.waiting import PATIENCE_S
from uvr.api.auth.rate_limits import LoginLimits
from uvr.api.auth.users_file import Token

FREE = 5
METRICS_TOKEN = "a token for scrapers"
ANNA, BERT = credentials("anna"), credentials("bert")
SLOW_HASH = "$2b$14$eS/vciw4M6xcNqMvhW3FuOcjt6akbgyVTJQVDTN262tIIp1GX/VPS"
"""Of cost 14: a check takes a second."""
OWN, SECRET = Token.create("anna", "a machine")


class Api:
    """The API of two processes as clients at different addresses use it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str = "/tasks", *, at: str, token: str = "", **options: Any) -> requests.Response:
        headers = {"X-Forwarded-For": at} | ({"Authorization": f"Bearer {token}"} if token else {})
        return requests.get(self._url + path, headers=headers, timeout=PATIENCE_S, **options)

    def status(self, path: str = "/tasks", **options: Any) -> int:
        return self.get(path, **options).status_code

    def login(self, auth: tuple[str, str], *, at: str) -> int:
        """The status of a login, repeated while the processes check as many other passwords as they may."""
        while "being checked at the moment" in (answer := self.get(at=at, auth=auth)).text:
            pass
        return answer.status_code


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("passwords")
    (folder / "redis").mkdir()
    users = folder / "users"
    users.write_text(f"{htpasswd('anna', 'bert', cost=7)}{OWN.line}\n")
    with redis_server(folder / "redis") as server:
        variables = environment(
            server,
            folder,
            BASIC_AUTH_USERS_FILE=str(users),
            METRICS_TOKEN=METRICS_TOKEN,
            TRUSTED_PROXIES="127.0.0.1",
            API_WORKERS="2",
        )
        with running_api(variables, folder) as (_, url):
            yield Api(url)


def stranger() -> tuple[str, str]:
    return secrets.token_hex(8), "guess"


@pytest.mark.parametrize("name", ["anna", "nobody", USER])
def test_parallel_guesses_are_no_more_than_those_in_a_row(api: Api, name: str) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda n: api.status(at="192.0.2.1", auth=(name, f"guess {n}")), range(64)))
    assert set(answers) <= {401, 429}
    assert 1 <= answers.count(401) <= FREE


def test_an_address_that_tries_many_names_locks_out_none_who_have_logged_in_from_it(api: Api) -> None:
    at = "192.0.2.2"
    assert api.login(ANNA, at=at) == 200
    assert api.status(at=at, auth=CREDENTIALS) == 200
    while (refused := api.get(at=at, auth=stranger())).status_code == 401:
        pass
    assert int(refused.headers["Retry-After"]) > 0
    for _ in range(2 * FREE):
        assert api.login(ANNA, at=at) == 200
        assert api.status(at=at, auth=CREDENTIALS) == 200
        assert api.status(at=at, token=SECRET) == 200
    assert api.login(BERT, at=at) == 429
    assert api.login(BERT, at="192.0.2.3") == 200


def test_metrics_token_cannot_be_guessed(api: Api) -> None:
    guesses = [api.status("/metrics", at="192.0.2.4", token=f"guess {n}") for n in range(4 * FREE)]
    assert guesses.count(401) == FREE
    assert api.status("/metrics", at="192.0.2.4", token=METRICS_TOKEN) == 429
    assert api.status("/metrics", at="192.0.2.5", token=METRICS_TOKEN) == 200


def test_tokens_of_users_cannot_be_tried_without_end(api: Api) -> None:
    guesses = [api.status(at="192.0.2.6", token=Token.create("anna")[1]) for _ in range(4 * FREE)]
    assert guesses.count(401) == FREE
    assert api.status(at="192.0.2.6", token=SECRET) == 200


def test_guesses_at_many_addresses_keep_neither_threads_nor_users_who_are_known(tmp_path: Path) -> None:
    home = "198.51.100.1"
    (tmp_path / "redis").mkdir()
    users = tmp_path / "users"
    users.write_text(f"{htpasswd('anna')}bert:{SLOW_HASH}\n{OWN.line}\n")
    more = {"BASIC_AUTH_USERS_FILE": str(users), "TRUSTED_PROXIES": "127.0.0.1", "API_WORKERS": "1"}
    with (
        redis_server(tmp_path / "redis") as server,
        Redis(**server.connection_kwargs) as redis,
        running_api(environment(server, tmp_path, **more), tmp_path) as (_, url),
        ThreadPoolExecutor(24) as pool,
    ):
        api = Api(url)
        limits = LoginLimits(redis, "uvr_tasks")
        limits.succeed(limits.begin(home, "anna"))  # some time ago, so this process does not remember her password
        guesses = [pool.submit(api.get, at=f"203.0.113.{n}", auth=("bert", "guess")) for n in range(24)]
        refused = next(answer for answer in as_completed(guesses) if answer.result().status_code == 429).result()
        assert "being checked" in refused.json()["detail"]
        assert refused.headers["Retry-After"] == "1"
        assert api.status("/health", at=home) == 200
        assert api.status(at=home, auth=ANNA) == 200
        assert api.status(at=home, auth=CREDENTIALS) == 200
        assert api.status(at=home, token=SECRET) == 200
        assert not all(guess.done() for guess in guesses), "the first guess is checked meanwhile, by one thread"
        answers = [guess.result().status_code for guess in guesses]
    assert set(answers) == {401, 429}
    assert answers.count(401) < FREE
