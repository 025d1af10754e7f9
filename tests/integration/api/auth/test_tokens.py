"""Bearer tokens: what they open, and when they stop doing so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from config import SettingsError
from tests.support.api import CREDENTIALS, USER, credentials, htpasswd
from uvr.api.auth.users_file import Token, UsersFile, read_users

SONG = {"audio": "https://songs.example.com/a.mp3"}
ANNAS, ANNAS_SECRET = Token.create("anna", "backup: nightly, #1")
ADMINS, ADMINS_SECRET = Token.create(USER)
BERTS, BERTS_SECRET = Token.create("bert")  # who is not in the file


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users.htpasswd"
    write(path, ANNAS, ADMINS, BERTS)
    return path


@pytest.fixture
def api_settings(users_file: Path) -> dict[str, Any]:
    return {"basic_auth_users_file": users_file, "requests_per_minute": 5}


def write(path: Path, *tokens: Token, users: str = "anna") -> None:
    new = path.with_suffix(".new")
    new.write_text(htpasswd(users) + "".join(f"{token.line}\n" for token in tokens))
    new.replace(path)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_token_is_its_user_wherever_a_password_is(client: FlaskClient) -> None:
    task_uuid = client.post("/generate", json=SONG, headers=bearer(ANNAS_SECRET)).json["task_uuid"]
    assert client.get(f"/tasks/{task_uuid}", auth=CREDENTIALS).json["owner"] == "anna"
    assert client.get(f"/tasks/{task_uuid}", auth=credentials("anna")).status_code == 200
    assert client.get(f"/tasks/{task_uuid}", headers=bearer(ADMINS_SECRET)).status_code == 200
    assert client.post(f"/tasks/{task_uuid}/cancel", headers=bearer(ANNAS_SECRET)).status_code == 200
    assert client.get("/metrics", headers=bearer(ADMINS_SECRET)).status_code == 200
    assert client.get("/metrics", headers=bearer(ANNAS_SECRET)).status_code == 403


def test_requests_with_a_token_count_for_its_user(client: FlaskClient) -> None:
    assert [client.get("/tasks", headers=bearer(ANNAS_SECRET)).status_code for _ in range(3)] == [200] * 3
    assert [client.get("/tasks", auth=credentials("anna")).status_code for _ in range(3)] == [200, 200, 429]


WRONG = {
    "of nobody": BERTS_SECRET,
    "another": "uvr_" + "A" * 43,
    "digest": ANNAS.digest,
    "id": ANNAS.id,
    "cut off": ANNAS_SECRET[:-1],
    "strange": "é",
}


@pytest.mark.parametrize("secret", WRONG.values(), ids=WRONG.keys())
def test_other_tokens_are_refused(client: FlaskClient, secret: str) -> None:
    answer = client.get("/tasks", headers=bearer(secret))
    assert answer.status_code == 401
    assert "bearer token" in answer.json["detail"]


def test_a_revoked_token_is_refused_at_once(client: FlaskClient, users_file: Path) -> None:
    assert client.get("/tasks", headers=bearer(ANNAS_SECRET)).status_code == 200
    write(users_file, ADMINS)
    assert client.get("/tasks", headers=bearer(ANNAS_SECRET)).status_code == 401
    assert client.get("/tasks", headers=bearer(ADMINS_SECRET)).status_code == 200


def test_tokens_of_a_user_who_was_removed_by_hand_are_refused(client: FlaskClient, users_file: Path) -> None:
    write(users_file, ANNAS, users="carl")
    assert client.get("/tasks", headers=bearer(ANNAS_SECRET)).status_code == 401


def test_token_works_while_its_user_has_to_wait(client: FlaskClient) -> None:
    for _ in range(6):
        client.get("/tasks", auth=("anna", "wrong"))
    assert client.get("/tasks", auth=credentials("anna")).status_code == 429
    assert client.get("/tasks", headers=bearer(ANNAS_SECRET)).status_code == 200


def test_wrong_tokens_are_counted(client: FlaskClient) -> None:
    answers = [client.get("/tasks", headers=bearer(f"uvr_{number}")).status_code for number in range(7)]
    assert answers == [401] * 5 + [429] * 2


def test_operations_accept_a_password_a_token_or_a_session(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    assert document["paths"]["/generate"]["post"]["security"] == [{"basic": []}, {"bearer": []}, {"session": []}]


def test_secret_is_random_and_not_in_the_file(users_file: Path) -> None:
    assert ANNAS_SECRET.startswith("uvr_")
    assert len({Token.create("anna")[1] for _ in range(10)}) == 10
    assert ANNAS_SECRET not in users_file.read_text()
    assert read_users(users_file, USER).tokens[ANNAS.digest] == ANNAS


@pytest.mark.parametrize(
    "line",
    ["#uvr-token:", "#uvr-token:anna:secret", ANNAS.line.replace(ANNAS.digest, "abc")],
    ids=["empty", "short", "without a digest"],
)
def test_a_token_line_with_an_error_is_refused(line: str) -> None:
    with pytest.raises(SettingsError, match=r"^BASIC_AUTH_USERS_FILE: line 2 is not a token line"):
        UsersFile.parse(f"{htpasswd('anna')}{line}\n", USER)


def test_other_comments_are_ignored() -> None:
    file = UsersFile.parse(f"# uvr-token: a comment\n#\n{htpasswd('anna')}", USER)
    assert (list(file.hashes), file.tokens) == (["anna"], {})
