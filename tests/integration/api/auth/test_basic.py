"""Basic Auth on every endpoint that needs it, and passwords with which the API does not start."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis

from app import create_app
from config import SettingsError
from tests.support.api import CREDENTIALS, PASSWORD, USER, application, settings_for


def basic(text: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(text).decode()}


@pytest.mark.parametrize(("method", "path"), [("POST", "/generate"), ("GET", "/tasks"), ("GET", "/tasks/one")])
def test_endpoint_needs_credentials(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(path, method=method, data=b"{broken", content_type="application/json")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Basic realm="')
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        basic(f"{USER}:wrong".encode()),
        basic(f"nobody:{PASSWORD}".encode()),
        basic(f"{USER}:".encode()),
        basic(f":{PASSWORD}".encode()),
        basic(USER.encode()),
        basic(b""),
        basic(b"\xff\xfe:\xff"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic not base64!"},
        {"Authorization": f"Bearer {PASSWORD}"},
        {"Authorization": ""},
    ],
)
def test_wrong_credentials_are_a_401(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/tasks", headers=headers).status_code == 401


def test_right_credentials_are_accepted(client: FlaskClient) -> None:
    assert client.get("/tasks", auth=CREDENTIALS).status_code == 200


@pytest.mark.parametrize("password", ["pässwörd", "密码🎵", "with:colon", "with space"])
def test_any_password_works(redis_client: Redis, tmp_path: Path, password: str) -> None:
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path, basic_auth_password=password)) as app:
        client = app.test_client()
        assert client.get("/tasks", headers=basic(f"{USER}:{password}".encode())).status_code == 200
        assert client.get("/tasks", headers=basic(f"{USER}:{password}x".encode())).status_code == 401


PLACEHOLDERS = ["your_secure_password_here", "Your_Secure_Password", "your-password", "EXAMPLE-1234", "change_me_now"]


@pytest.mark.parametrize("password", ["", "password", "Admin", "CHANGEME", "secret", "123456", USER, *PLACEHOLDERS])
def test_well_known_password_is_refused_if_other_machines_can_reach_the_api(
    redis_client: Redis, tmp_path: Path, password: str
) -> None:
    for host in ("0.0.0.0", "192.0.2.7", "::", "uvr.example.com"):
        with pytest.raises(SettingsError, match=r"^BASIC_AUTH_PASSWORD: ") as refusal:
            create_app(
                settings_for(
                    redis_client.get_connection_kwargs(), tmp_path, api_host=host, basic_auth_password=password
                )
            )
        assert host in str(refusal.value)


@pytest.mark.parametrize("token", ["secret", "your_token", "change-me"])
def test_a_token_that_is_easy_to_guess_is_refused_too(redis_client: Redis, tmp_path: Path, token: str) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, api_host="0.0.0.0", metrics_token=token)
    with pytest.raises(
        SettingsError, match=r"^METRICS_TOKEN: is .* reach API_HOST=0\.0\.0\.0; set it to a random value"
    ):
        create_app(settings)


@pytest.mark.parametrize("password", ["yours_truly_77f1", "my-example-9c2a", "exchange-4f1b"])
def test_a_password_that_only_contains_such_a_word_is_accepted(
    redis_client: Redis, tmp_path: Path, password: str
) -> None:
    redis = redis_client.get_connection_kwargs()
    with application(settings_for(redis, tmp_path, api_host="0.0.0.0", basic_auth_password=password)) as app:
        assert app.test_client().get("/tasks", auth=(USER, password)).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_empty_password_is_accepted_on_loopback_and_still_verified(
    redis_client: Redis, tmp_path: Path, host: str
) -> None:
    with application(
        settings_for(redis_client.get_connection_kwargs(), tmp_path, api_host=host, basic_auth_password="")
    ) as app:
        client = app.test_client()
        assert client.get("/tasks", auth=(USER, "")).status_code == 200
        assert client.get("/tasks").status_code == 401
        assert client.get("/tasks", auth=("", "")).status_code == 401
