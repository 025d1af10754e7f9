"""The API as tests use it: an application on a test's own Redis, and the credentials of its users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.serving import make_server

from app import create_app
from config import Settings, read_settings
from tests.support.threads import in_thread
from uvr.api.services import Services

USER, PASSWORD = "tester", "correct horse"
CREDENTIALS = (USER, PASSWORD)


def settings_for(redis: Mapping[str, Any], folder: Path, **overrides: Any) -> Settings:
    """Settings for the Redis with these connection arguments; stems live below `folder`."""
    values = {
        "redis_url": redis_url(redis),
        "basic_auth_username": USER,
        "basic_auth_password": PASSWORD,
        "temp_dir": folder / "temp",
        "output_dir": folder / "output",
        "public_base_url": "http://uvr.test",
        **overrides,
    }
    return read_settings(**values)


def redis_url(where: Mapping[str, Any]) -> str:
    path = where.get("unix_socket_path") or where.get("path")
    return f"unix://{path}" if path else f"redis://{where['host']}:{where['port']}"


@contextmanager
def application(settings: Settings) -> Iterator[Flask]:
    """`create_app(settings)`, its connections closed at the end."""
    app = create_app(settings)
    try:
        yield app
    finally:
        services_of(app).close()


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The address of the API, which is served until the block ends."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with server, in_thread(server.serve_forever, server.shutdown, name="api"):
        yield f"http://127.0.0.1:{server.port}"


def services_of(app: Flask) -> Services:
    services: Services = app.extensions["uvr"]
    return services


def post_generate(client: FlaskClient, body: Any, **options: Any) -> Any:
    """POST /generate with the right password."""
    return client.post("/generate", json=body, auth=CREDENTIALS, **options)


def task_keys(redis: Redis) -> list[str]:
    """What tasks have left in Redis; logins leave the addresses from which users are known."""
    return [key for key in redis.scan_iter() if not key.startswith("uvr_tasks:known:")]


def htpasswd(*users: str, cost: int = 4) -> str:
    """Lines of a users file, for users whose passwords are their names backwards; see `credentials`."""
    return "".join(f"{user}:{hashed(credentials(user)[1], cost)}\n" for user in users)


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def credentials(user: str) -> tuple[str, str]:
    return user, user[::-1]
