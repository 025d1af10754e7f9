"""What many of these tests work with: a queue, the API, an uploader, and servers that fetches and webhooks go to.

A test file that needs other settings overrides `api_settings` or `workshop_settings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from redis_queue import RedisQueue
from tests.support.api import application, settings_for
from tests.support.http_server import HttpServer, http_server
from tests.support.s3_server import S3Server
from tests.support.workshop import Workshop, open_workshop
from uvr.worker.shutdown import Shutdown


@pytest.fixture
def queue(redis_client: Redis) -> RedisQueue:
    """A queue whose leases outlast every test."""
    return RedisQueue(redis_client, "tasks", lease_ms=60_000)


@pytest.fixture
def api_settings() -> dict[str, Any]:
    """What a test file overrides to change settings of its `client`."""
    return {}


@pytest.fixture(params=["local", "s3"])
def storage_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """A storage on disk, and one in a real bucket; a test with this fixture runs with each."""
    if request.param == "local":
        return {}
    s3: S3Server = request.getfixturevalue("s3")
    return {name.lower(): value for name, value in s3.settings.items()}


@pytest.fixture
def client(redis_client: Redis, tmp_path: Path, api_settings: dict[str, Any]) -> Iterator[FlaskClient]:
    """A client of the API, whose stems are in the test's folder."""
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, **api_settings)
    with application(settings) as app, app.test_client() as client:
        yield client


@pytest.fixture
def workshop_settings() -> dict[str, Any]:
    """What a test file overrides to change settings of its `workshop`."""
    return {}


@pytest.fixture
def workshop(redis_client: Redis, tmp_path: Path, workshop_settings: dict[str, Any]) -> Iterator[Workshop]:
    """An uploader's settings, queues and storage, on the Redis and in the folder of `client`."""
    with open_workshop(redis_client, tmp_path, **workshop_settings) as workshop:
        yield workshop


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """An HTTP server whose answers the test scripts."""
    with http_server() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    """A server that webhooks are sent to."""
    with http_server() as server:
        yield server


@pytest.fixture
def shutdown() -> Iterator[Shutdown]:
    """A shutdown for workers that a test runs; it is requested at the end at the latest."""
    shutdown = Shutdown()
    yield shutdown
    shutdown.requested.set()
    shutdown.abandoned.set()
