"""Sessions: they last while they are used, end in every promised way, and cannot be forged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from structlog.testing import capture_logs

from tests.support.api import CREDENTIALS, PASSWORD, USER, application, credentials, hashed, htpasswd, settings_for
from tests.support.waiting import eventually
from uvr.api.auth import sessions
from uvr.api.auth.sessions import Sessions
from uvr.api.auth.users import Account, User

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
OVER_HTTPS = {"X-Forwarded-Proto": "https"}
ANNA = credentials("anna")
BASIC = 'Basic realm="uvr-api", charset="UTF-8"'


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.htpasswd"
    file.write_text(htpasswd("anna", "bert"))
    return file


@pytest.fixture
def api_settings(users: Path) -> dict[str, Any]:
    return {"basic_auth_users_file": users, "public_base_url": ""}


@pytest.fixture
def client(redis_client: Redis, tmp_path: Path, api_settings: dict[str, Any]) -> Iterator[FlaskClient]:
    """A browser. Not in a `with` block, which would share what belongs to one request with those of other browsers."""
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path, **api_settings)) as app:
        yield app.test_client()


def signed_in(client: FlaskClient, who: tuple[str, str] = ANNA, **headers: str) -> Any:
    body = {"username": who[0], "password": who[1]}
    answer = client.post("/session", json=body, headers={**OWN_PAGE, **headers})
    assert answer.status_code == 200, answer.text
    return answer


def other_browser(client: FlaskClient, cookie: str) -> FlaskClient:
    """A client of the same API that has only this cookie."""
    other = client.application.test_client()
    other.set_cookie("uvr_session", cookie)
    return other


def cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("uvr_session")
    assert cookie
    return cookie.value


def is_signed_in(client: FlaskClient) -> bool:
    status = client.get("/tasks").status_code
    assert status in (200, 401)
    return status == 200


def test_a_user_signs_in_and_out(client: FlaskClient) -> None:
    assert not is_signed_in(client)
    assert client.get("/session").json == {"user": None, "is_admin": False, "expires_at": None}
    with capture_logs() as logs:
        answer = signed_in(client)
        assert (answer.json["user"], answer.json["is_admin"]) == ("anna", False)
        assert client.get("/session").json == answer.json
        assert is_signed_in(client)
        assert client.delete("/session", headers=OWN_PAGE).status_code == 204
    assert [(line["event"], line["user"]) for line in logs if "session." in line["event"]] == [
        ("session.begun", "anna"),
        ("session.ended", "anna"),
    ]
    assert client.get_cookie("uvr_session") is None
    assert client.get("/session").json["user"] is None
    assert client.delete("/session", headers=OWN_PAGE).status_code == 204


def test_signing_in_takes_a_form_as_well_and_says_what_is_missing(client: FlaskClient) -> None:
    form = {"username": USER, "password": PASSWORD}
    answer = client.post("/session", data=form, headers={"Origin": "http://localhost"})
    assert (answer.status_code, answer.json["user"], answer.json["is_admin"]) == (200, USER, True)
    answer = client.post("/session", json={"username": USER})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (400, "password")
    answer = client.post("/session", data=b"x", content_type="text/plain")
    assert answer.status_code == 415
    answer = client.post("/session", headers={"Transfer-Encoding": "chunked"}, content_type="application/json")
    assert answer.status_code == 411


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client: FlaskClient) -> None:
    cookie = signed_in(client).headers["Set-Cookie"]
    assert cookie.startswith("uvr_session=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"Origin": "https://stems.example.com"}, {}),
        ({"X-Forwarded-Proto": "https"}, {"trusted_proxies": "127.0.0.0/8", "allowed_hosts": "localhost"}),
        ({}, {"public_base_url": "https://stems.example.com"}),
    ],
)
def test_over_https_the_cookie_never_travels_without_it(
    redis_client: Redis, tmp_path: Path, headers: dict[str, str], settings: dict[str, str]
) -> None:
    chosen = settings_for(redis_client.get_connection_kwargs(), tmp_path, **{"public_base_url": "", **settings})
    with application(chosen) as app:
        client = app.test_client()
        cookie = signed_in(client, CREDENTIALS, **headers).headers["Set-Cookie"]
        assert cookie.startswith("__Host-uvr_session=")
        assert {"Secure", "Path=/", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
        kept = cookie.partition(";")[0]
        plain = app.test_client(use_cookies=False)
        assert plain.get("/tasks", headers={"Cookie": kept}).status_code == 200
        gone = plain.delete("/session", headers={"Cookie": kept, **OWN_PAGE}).headers["Set-Cookie"]
        assert gone.startswith("__Host-uvr_session=;")
        assert "Secure" in gone


def test_over_https_a_cookie_that_another_host_may_have_set_does_not_count(redis_client: Redis, tmp_path: Path) -> None:
    """A sibling domain can give a browser the session of its own user, and would get the songs that are sent."""
    settings = {"public_base_url": "https://stems.example.com", "trusted_proxies": "127.0.0.0/8"}
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path, **settings)) as app:
        browser = app.test_client()
        own = signed_in(browser, CREDENTIALS, **OVER_HTTPS).headers["Set-Cookie"].partition(";")[0]
        planted = own.removeprefix("__Host-")
        browser = app.test_client(use_cookies=False)
        for cookies, status in [(planted, 401), (own, 200), (f"{planted}; {own}", 200)]:
            assert browser.get("/tasks", headers={"Cookie": cookies, **OVER_HTTPS}).status_code == status, cookies
        assert browser.get("/session", headers={"Cookie": planted, **OVER_HTTPS}).json["user"] is None
        assert browser.get("/tasks", headers={"Cookie": planted}).status_code == 200, "over HTTP there is no other one"


def test_a_session_sees_what_its_user_sees(client: FlaskClient) -> None:
    body = {"audio": "https://songs.example/a.mp3"}
    task = client.post("/generate", json=body, auth=CREDENTIALS).json["task_uuid"]
    signed_in(client)
    assert client.get(f"/tasks/{task}").status_code == 404
    assert client.get("/metrics").status_code == 403
    own = client.post("/generate", json=body, headers=OWN_PAGE).json["task_uuid"]
    assert [listed["task_uuid"] for listed in client.get("/tasks").json["tasks"]] == [own]
    signed_in(client, CREDENTIALS)
    assert {listed["task_uuid"] for listed in client.get("/tasks").json["tasks"]} == {own, task}
    assert client.get("/metrics").status_code == 200


def test_other_credentials_go_before_the_cookie(client: FlaskClient) -> None:
    signed_in(client)
    assert client.get("/session", auth=CREDENTIALS).json == {"user": USER, "is_admin": True, "expires_at": None}
    refused = client.get("/tasks", auth=("anna", "guess"))
    assert (refused.status_code, BASIC in refused.headers.getlist("WWW-Authenticate")) == (401, True)


def test_signing_out_ends_the_session_everywhere(client: FlaskClient, redis_client: Redis) -> None:
    signed_in(client)
    stolen = other_browser(client, cookie_of(client))
    second = client.application.test_client()
    signed_in(second)
    assert is_signed_in(stolen)
    client.delete("/session", headers=OWN_PAGE)
    assert not is_signed_in(stolen)
    assert is_signed_in(second)
    assert not {cookie_of(stolen).split(".")[2]} & set(redis_client.zrange("uvr_tasks:sessions:anna", 0, -1))


@pytest.mark.parametrize("change", ["password", "removed", "removed and back"])
def test_a_new_password_and_a_removed_user_end_all_sessions(client: FlaskClient, users: Path, change: str) -> None:
    signed_in(client)
    others = htpasswd("bert")
    lines = {"password": f"anna:{hashed('new')}\n", "removed": "", "removed and back": htpasswd("anna")}
    users.write_text(lines[change] + others)
    assert not is_signed_in(client)
    assert client.get("/session").json["user"] is None


def test_a_new_password_of_the_admin_ends_its_sessions(redis_client: Redis, tmp_path: Path) -> None:
    redis = redis_client.get_connection_kwargs()
    with application(settings_for(redis, tmp_path)) as app:
        client = app.test_client()
        signed_in(client, CREDENTIALS, Origin="http://localhost")
        cookie = cookie_of(client)
    with application(settings_for(redis, tmp_path)) as app:  # a restart, or another process
        assert is_signed_in(other_browser(app.test_client(), cookie))
    with application(settings_for(redis, tmp_path, basic_auth_password="another one")) as app:
        assert not is_signed_in(other_browser(app.test_client(), cookie))


def test_a_password_that_changes_while_it_is_checked_gives_no_session(
    client: FlaskClient, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Sessions.begin

    def begin_late(self: Sessions, account: Account) -> Any:
        users.write_text(f"anna:{hashed('new')}\n")
        return begin(self, account)

    monkeypatch.setattr(Sessions, "begin", begin_late)
    signed_in(client)
    assert not is_signed_in(client)


@pytest.fixture
def few(redis_client: Redis) -> Sessions:
    """Sessions that end after two seconds without use."""
    return Sessions(redis_client, "uvr_tasks", ttl_s=2)


ACCOUNT = Account(User("anna", is_admin=False), "stored")


def same_account(name: str) -> Account | None:
    return ACCOUNT if name == "anna" else None


def test_a_session_ends_when_it_is_not_used(few: Sessions) -> None:
    cookie = few.begin(ACCOUNT).cookie
    assert few.find(cookie, same_account)
    key = few._sessions_of("anna")
    ended = lambda: not int(few._scripts["read"](keys=[key], args=[sessions._digest(cookie.split(".")[2])])[1])  # noqa: E731
    eventually(ended, "the session has expired")
    assert few.find(cookie, same_account) is None


def test_use_extends_a_session_up_to_its_maximum(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Sessions(redis_client, "uvr_tasks", ttl_s=1000)
    begun = long.begin(ACCOUNT)
    [(member, expires_s)] = redis_client.zrange("uvr_tasks:sessions:anna", 0, -1, withscores=True)
    redis_client.zadd("uvr_tasks:sessions:anna", {member: expires_s - 500})
    found = long.find(begun.cookie, same_account)
    assert found
    assert found.expires_ms >= begun.expires_ms
    monkeypatch.setattr(sessions, "MAX_S", 600)
    redis_client.zadd("uvr_tasks:sessions:anna", {member: expires_s - 500})
    found = long.find(begun.cookie, same_account)
    assert found
    assert found.expires_ms == begun.expires_ms - 500_000, "it is not extended beyond its maximum"


def test_a_user_has_a_limited_number_of_sessions(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_MAX_PER_USER", 2)
    some = Sessions(redis_client, "uvr_tasks", ttl_s=1000)
    first, second = some.begin(ACCOUNT), some.begin(ACCOUNT)
    redis_client.zincrby("uvr_tasks:sessions:anna", -10, sessions._digest(first.cookie.split(".")[2]))
    third = some.begin(ACCOUNT)
    assert [bool(some.find(it.cookie, same_account)) for it in (first, second, third)] == [False, True, True]


def forgeries(cookie: str, others: str) -> Iterator[str]:
    """What an attacker who has one session tries to make of it."""
    name, began, session_id, signature = cookie.split(".")
    admin = others.split(".")[0]
    yield ".".join([admin, began, session_id, signature])
    yield ".".join([name, str(int(began) + 10**6), session_id, signature])
    yield ".".join([name, began, session_id])
    yield ".".join([name, began, session_id, ""])
    yield ".".join([name, began, session_id, ("A" if signature[0] != "A" else "B") + signature[1:]])
    yield ".".join([name, began, others.split(".")[2], signature])
    yield from ("", ".", "....", "anna", "\x00", "é.1.2.3", "A" * 5000, f"{name}.{began}", "_w.1.x.y")


def test_a_cookie_cannot_be_forged(client: FlaskClient) -> None:
    admin = client.application.test_client()
    signed_in(admin, CREDENTIALS)
    signed_in(client)
    for forged in forgeries(cookie_of(client), cookie_of(admin)):
        browser = client.application.test_client(use_cookies=False)
        assert browser.get("/tasks", headers={"Cookie": f"uvr_session={forged}"}).status_code == 401, forged
    assert is_signed_in(client)


def test_a_new_key_ends_all_sessions(client: FlaskClient, redis_client: Redis) -> None:
    signed_in(client)
    redis_client.delete("uvr_tasks:session_key")
    with application(_settings(client.application)) as app:
        assert not is_signed_in(other_browser(app.test_client(), cookie_of(client)))


def _settings(app: Flask) -> Any:
    return app.extensions["uvr"].settings


@pytest.mark.parametrize("cookie", ["expired", ""])
def test_the_page_is_refused_without_the_browsers_password_dialog(client: FlaskClient, cookie: str) -> None:
    headers = {"Cookie": f"uvr_session={cookie}"} if cookie else {"X-Requested-With": "fetch"}
    browser = client.application.test_client(use_cookies=False)
    refused = browser.get("/tasks", headers=headers)
    assert (refused.status_code, refused.headers.getlist("WWW-Authenticate")) == (401, ['Bearer realm="uvr-api"'])
    assert "session has ended" in refused.json["error"]
    for others in (browser.get("/tasks"), browser.get("/tasks", headers=headers, auth=("anna", "guess"))):
        assert (others.status_code, others.headers.getlist("WWW-Authenticate")[0]) == (401, BASIC)


def test_wrong_passwords_count_like_those_of_basic_auth(client: FlaskClient) -> None:
    guess = {"username": "anna", "password": "guess"}
    answers = [client.post("/session", json=guess) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {401}
    assert answers[0].headers.getlist("WWW-Authenticate") == ['Bearer realm="uvr-api"']
    assert "Set-Cookie" not in answers[0].headers
    assert client.get("/tasks", auth=("anna", "guess")).status_code == 401
    refused = client.post("/session", json={"username": "anna", "password": ANNA[1]})
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://localhost"}, 404),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://friend.example"}, 403),
    ],
)
def test_a_session_changes_something_only_for_the_services_own_page(
    redis_client: Redis, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    more = {"public_base_url": "", "allowed_origins": "https://friend.example"}
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path, **more)) as app:
        client = app.test_client()
        signed_in(client, CREDENTIALS)
        assert client.delete("/tasks/1", headers=headers).status_code == status
        assert client.delete("/session", headers=headers).status_code == (204 if status == 404 else 403)


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
)
def test_a_session_shows_nothing_to_pages_of_other_origins(client: FlaskClient, site: str, status: int) -> None:
    signed_in(client)
    assert client.get("/tasks", headers={"Sec-Fetch-Site": site}).status_code == status
