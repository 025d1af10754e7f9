"""/users/me/webhook-secret: each user makes, replaces and removes the secret of their own webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from tests.support.api import CREDENTIALS, credentials, htpasswd

PATH = "/users/me/webhook-secret"
NONE = {"is_set": False, "created_at": None, "fingerprint": None, "replaced": []}
ANNA, BERT = credentials("anna"), credentials("bert")


@pytest.fixture
def api_settings(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "users.htpasswd"
    file.write_text(htpasswd("anna", "bert"))
    return {"basic_auth_users_file": file}


def made(client: FlaskClient, who: tuple[str, str] = ANNA) -> Any:
    answer = client.post(PATH, auth=who)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    return answer.json


def shown(client: FlaskClient, who: tuple[str, str] = ANNA) -> Any:
    answer = client.get(PATH, auth=who)
    assert answer.status_code == 200
    return answer.json


def test_a_secret_is_shown_when_it_is_made_and_never_again(client: FlaskClient) -> None:
    assert shown(client) == NONE
    new = made(client)
    secret = new.pop("secret")
    assert secret.startswith("whsec_")
    assert new["is_set"] is True
    assert shown(client) == new
    assert secret not in client.get(PATH, auth=ANNA).text


def test_each_user_has_their_own(client: FlaskClient) -> None:
    annas = made(client)["secret"]
    assert shown(client, BERT) == shown(client, CREDENTIALS) == NONE
    assert made(client, BERT)["secret"] != annas


def test_a_new_one_replaces_the_old_one_which_signs_for_another_day(client: FlaskClient) -> None:
    old, new = made(client), made(client)
    assert new["fingerprint"] != old["fingerprint"]
    [replaced] = new["replaced"]
    assert replaced["fingerprint"] == old["fingerprint"]
    assert replaced["signs_until"] > new["created_at"]


def test_removing_leads_back_to_the_secret_of_the_service(client: FlaskClient) -> None:
    made(client)
    made(client)
    for _ in range(2):
        answer = client.delete(PATH, auth=ANNA)
        assert (answer.status_code, answer.data) == (204, b"")
        assert shown(client) == NONE


def test_the_log_says_who_did_it_and_shows_no_secret(client: FlaskClient) -> None:
    with capture_logs() as log:
        new = made(client)
        client.delete(PATH, auth=ANNA)
    events = [line for line in log if line["event"].startswith("webhook_secret.")]
    assert [(line["event"], line["user"], line["address"]) for line in events] == [
        ("webhook_secret.made", "anna", "127.0.0.1"),
        ("webhook_secret.removed", "anna", "127.0.0.1"),
    ]
    assert events[0]["fingerprint"] == new["fingerprint"]
    assert new["secret"] not in str(log)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_it_needs_credentials(client: FlaskClient, method: str) -> None:
    assert client.open(PATH, method=method).status_code == 401
