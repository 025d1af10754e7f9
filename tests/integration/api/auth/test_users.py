"""The users file: who may authenticate, when it is read, and which tasks each user sees."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import structlog
from flask.testing import FlaskClient
from redis import Redis

from config import SettingsError
from tests.support.api import (
    CREDENTIALS,
    USER,
    application,
    credentials,
    hashed,
    htpasswd,
    services_of,
    settings_for,
)
from uvr.api.auth.users import User, Users
from uvr.tasks.model import Status, Task

SONG = {"audio": "https://songs.example.com/a.mp3"}
ANNA, BERT = credentials("anna"), credentials("bert")


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users.htpasswd"
    path.write_text(htpasswd("anna", "bert"))
    return path


@pytest.fixture
def api_settings(users_file: Path) -> dict[str, Any]:
    return {"basic_auth_users_file": users_file}


def users(path: Path, clock: Callable[[], float] = time.monotonic) -> Users:
    return Users(settings_for({"host": "unused", "port": 1}, path.parent, basic_auth_users_file=path), clock)


def verified(accounts: Users, name: str, password: str) -> User | None:
    return accounts.recognize(name, password) or accounts.check(name, password, is_known=False)


def rewrite(path: Path, text: str) -> None:
    """Replace the file by a new one, as an editor does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def submitted(client: FlaskClient, auth: tuple[str, str]) -> str:
    task_uuid: str = client.post("/generate", json=SONG, auth=auth).json["task_uuid"]
    return task_uuid


def listed(client: FlaskClient, auth: tuple[str, str], query: str = "") -> set[str]:
    return {task["task_uuid"] for task in client.get(f"/tasks?{query}", auth=auth).json["tasks"]}


@pytest.mark.parametrize("auth", [ANNA, BERT, CREDENTIALS])
def test_users_of_the_file_and_the_admin_are_accepted(client: FlaskClient, auth: tuple[str, str]) -> None:
    assert client.get("/tasks", auth=auth).status_code == 200


@pytest.mark.parametrize("auth", [("anna", "wrong"), ("anna", ""), ("carl", "lrac"), ("anna", BERT[1]), (USER, "anna")])
def test_wrong_passwords_and_unknown_names_get_the_same_response(client: FlaskClient, auth: tuple[str, str]) -> None:
    answer = client.get("/tasks", auth=auth)
    assert answer.status_code == 401
    assert answer.headers.getlist("WWW-Authenticate") == [
        'Basic realm="uvr-api", charset="UTF-8"',
        'Bearer realm="uvr-api"',
    ]
    assert answer.json["detail"] == client.get("/tasks").json["detail"]


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_every_bcrypt_prefix_is_accepted(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "users"
    path.write_text("# people\n\n" + htpasswd("anna").replace("$2b$", f"${prefix}$") + "\n")
    assert verified(users(path), *ANNA) == User("anna", is_admin=False)


@pytest.mark.parametrize("password", ["Grüße 密码🎵", "with:colons:", "a" + "x" * 79, "nul\x00nul"])
def test_unusual_passwords_work(tmp_path: Path, password: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"änna:{hashed(password[:72])}\n")
    assert verified(users(path), "änna", password)
    assert verified(users(path), "änna", password[1:]) is None


def test_every_invalid_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(
        f"{htpasswd('anna')}nonsense\n:hash\nbert:$apr1$x$y\nanna:{hashed('x')}\n{USER}:{hashed('x')}\n"
        f"carl:{hashed('x').replace('$04$', '$31$')}\n"
    )
    with pytest.raises(SettingsError) as refusal:
        users(path)
    assert [fault.partition(" line ")[2].partition(" ")[0] for fault in refusal.value.faults] == list("234567")
    assert "htpasswd -B" in str(refusal.value)
    assert "$apr1$" not in str(refusal.value)


@pytest.mark.parametrize("make", [Path.exists, lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff")])
def test_unreadable_file_prevents_the_start(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "users")
    with pytest.raises(SettingsError, match=r"^BASIC_AUTH_USERS_FILE: .* cannot be read: "):
        users(tmp_path / "users")


def test_changed_file_takes_effect_at_once(users_file: Path) -> None:
    accounts = users(users_file)
    assert verified(accounts, *ANNA)
    rewrite(users_file, f"anna:{hashed('a new one')}\n{htpasswd('carl')}")
    assert verified(accounts, *ANNA) is None
    assert verified(accounts, "anna", "a new one")
    assert verified(accounts, *BERT) is None
    assert verified(accounts, *credentials("carl"))


def test_invalid_change_is_logged_once_and_leaves_the_users_as_they_were(users_file: Path) -> None:
    accounts = users(users_file)
    rewrite(users_file, f"anna\n{htpasswd('carl')}")
    with structlog.testing.capture_logs() as lines:
        assert verified(accounts, *ANNA)
        assert verified(accounts, *credentials("carl")) is None
    assert [line["event"] for line in lines] == ["users.refused"]
    users_file.unlink()
    assert verified(accounts, *ANNA)


def test_right_password_is_slow_to_verify_only_once(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(htpasswd("anna", cost=10))
    accounts = users(path)
    first, *others = [seconds(accounts, *ANNA) for _ in range(5)]
    assert max(others) < first / 10


def test_password_is_remembered_for_a_minute_and_checked_again_before(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    accounts = users(users_file, lambda: now_s)
    checked: list[bytes] = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, _hashed: not checked.append(password))
    assert accounts.recognize(*ANNA) is None
    assert accounts.check(*ANNA, is_known=False)
    for _ in range(2):
        now_s += 29
        assert accounts.recognize(*ANNA)
        accounts.keep_recognizing(*ANNA)
    assert len(checked) == 2
    now_s += 59
    assert accounts.recognize(*ANNA)
    now_s += 2
    assert accounts.recognize(*ANNA) is None
    accounts.keep_recognizing(*ANNA)
    assert len(checked) == 2


def test_password_is_remembered_as_far_as_bcrypt_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"anna:{hashed('x' * 72)}\n")
    accounts = users(path)
    assert verified(accounts, "anna", "x" * 72)
    assert accounts.recognize("anna", "x" * 72 + "y"), "or anna could ask for a check with every request"
    assert accounts.recognize("anna", "x" * 71 + "y") is None


def test_unknown_name_with_the_password_of_another_is_not_recognized(users_file: Path) -> None:
    rewrite(users_file, htpasswd("anna"))
    accounts = users(users_file)
    assert verified(accounts, "nobody", ANNA[1]) is None
    assert accounts.recognize("nobody", ANNA[1]) is None


def test_refusals_take_equally_long_for_unknown_and_known_names(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(htpasswd("anna", cost=9))
    accounts = users(path)
    names = ["anna", "nobody", USER, ""]
    taken = {name: statistics.median(seconds(accounts, name, "wrong") for _ in range(5)) for name in names}
    assert max(taken.values()) < 2 * min(taken.values())


def seconds(accounts: Users, name: str, password: str) -> float:
    """Processor time of a verification, which other processes do not influence."""
    began = time.process_time()
    verified(accounts, name, password)
    return time.process_time() - began


def test_tasks_are_listed_for_their_owner_and_for_the_admin(client: FlaskClient) -> None:
    hers, his, admins = (submitted(client, auth) for auth in (ANNA, BERT, CREDENTIALS))
    assert listed(client, ANNA) == listed(client, ANNA, "status=queued") == {hers}
    assert listed(client, BERT) == {his}
    assert listed(client, BERT, "status=failed") == set()
    assert listed(client, CREDENTIALS) == {hers, his, admins}


def test_task_shows_its_owner(client: FlaskClient) -> None:
    task_uuid = submitted(client, ANNA)
    assert client.get(f"/tasks/{task_uuid}", auth=CREDENTIALS).json["owner"] == "anna"


def task_endpoints(client: FlaskClient) -> list[tuple[str, str]]:
    """Method and rule of every endpoint that takes a task_uuid, including future ones."""
    rules = client.application.url_map.iter_rules()
    return [
        (method, rule.rule)
        for rule in rules
        if "task_uuid" in rule.arguments
        for method in rule.methods or ()
        if method not in ("OPTIONS", "HEAD")
    ]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SUCCESS, Status.FAILED])
def test_tasks_of_other_users_get_the_response_of_unknown_tasks(client: FlaskClient, status: Status) -> None:
    store = services_of(client.application).store
    store.submit(
        Task("hers", SONG["audio"], 3, 1_700_000_000_000, owner="anna", status=status, hook_url="https://a.b/")
    )
    endpoints = task_endpoints(client)
    assert len(endpoints) >= 2
    for method, rule in endpoints:
        [theirs, unknown] = [
            client.open(
                rule.replace("<task_uuid>", task_uuid),
                method=method,
                query_string={"stem": "vocals"} if rule.endswith("/peaks") else None,
                auth=BERT,
                headers={"X-Request-ID": "r"},
            )
            for task_uuid in ("hers", "nobodys")
        ]
        expected = 403 if rule.startswith("/admin/") else 404
        assert theirs.status_code == unknown.status_code == expected, rule
        assert theirs.json == unknown.json
    assert store.get("hers") is not None


def test_task_without_an_owner_belongs_to_the_admin(client: FlaskClient) -> None:
    services_of(client.application).store.submit(Task("old", SONG["audio"], 3, 1_700_000_000_000))
    assert client.get("/tasks/old", auth=CREDENTIALS).json["owner"] is None
    assert client.get("/tasks/old", auth=ANNA).status_code == 404
    assert listed(client, ANNA) == set()


def test_list_of_an_owner_follows_the_status_of_the_tasks(client: FlaskClient, redis_client: Redis) -> None:
    services = services_of(client.application)
    task_uuid = submitted(client, ANNA)
    lease = services.broker.tasks.claim()
    assert lease
    services.broker.tasks.extend(lease, {"status": "processing"})
    assert listed(client, ANNA, "status=queued") == set()
    assert listed(client, ANNA, "status=processing") == {task_uuid}
    services.broker.tasks.finish(lease, record={"status": "success"})
    assert services.broker.tasks.forget(task_uuid, [], ["success"])
    assert redis_client.keys("uvr_tasks:owner:*") == []


def test_without_a_file_only_the_admin_is_accepted(redis_client: Redis, tmp_path: Path) -> None:
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path)) as app:
        assert app.test_client().get("/tasks", auth=ANNA).status_code == 401
