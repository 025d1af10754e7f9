"""CORS: scripts of other origins are refused unless ALLOWED_ORIGINS lists their origin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from config import SettingsError, read_settings
from tests.support.api import CREDENTIALS, application, settings_for

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@contextmanager
def api(redis: Redis, folder: Path, **settings: Any) -> Iterator[FlaskClient]:
    with application(settings_for(redis.get_connection_kwargs(), folder, **settings)) as app:
        yield app.test_client()


def cors_headers(answer: Any) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("Access-Control-")]


def test_no_response_has_cors_headers_by_default(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        assert cors_headers(client.get("/tasks", auth=CREDENTIALS, headers={"Origin": ORIGIN})) == []
        assert cors_headers(client.options("/generate", headers=PREFLIGHT)) == []


def test_allowed_origin_may_call_and_read(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, allowed_origins=[ORIGIN]) as client:
        for auth in (CREDENTIALS, None):
            answer = client.get("/tasks", auth=auth, headers={"Origin": ORIGIN})
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
            assert {"Location", "Retry-After", "Idempotency-Replayed"} <= set(exposed)
            assert "Origin" in answer.vary
            assert "Access-Control-Allow-Credentials" not in answer.headers


def test_preflight_of_an_allowed_origin_needs_no_credentials(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, allowed_origins=[ORIGIN]) as client:
        answer = client.options("/generate", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example.com", f"{ORIGIN}.evil.example"])
def test_other_origins_are_refused(redis_client: Redis, tmp_path: Path, origin: str) -> None:
    with api(redis_client, tmp_path, allowed_origins=[ORIGIN]) as client:
        assert cors_headers(client.get("/tasks", auth=CREDENTIALS, headers={"Origin": origin})) == []
        assert cors_headers(client.options("/generate", headers={**PREFLIGHT, "Origin": origin})) == []


@pytest.mark.parametrize("origins", ["*", "app.example.com", "https://a.example/", "https://a.example,ftp://b.example"])
def test_setting_accepts_origins_only(origins: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOWED_ORIGINS: .* is not an origin"):
        read_settings(allowed_origins=origins)
