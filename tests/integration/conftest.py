"""What many of these files work with: the API, an uploader's workshop, and a receiver of webhooks.

A file that needs it otherwise has a fixture of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import application, settings_for
from tests.support.http_server import HttpServer, http_server
from tests.support.workshop import Workshop, open_workshop
from uvr.worker.shutdown import Shutdown


@pytest.fixture
def client(redis_client: Redis, tmp_path: Path) -> Iterator[FlaskClient]:
    """A client of the API, whose stems are in the test's folder."""
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path)) as app, app.test_client() as client:
        yield client


@pytest.fixture
def workshop_settings() -> dict[str, Any]:
    """What a file of tests wants to be different in its `workshop`."""
    return {}


@pytest.fixture
def workshop(redis_client: Redis, tmp_path: Path, workshop_settings: dict[str, Any]) -> Iterator[Workshop]:
    """What an uploader works with, on the Redis and in the folder of `client`."""
    with open_workshop(redis_client, tmp_path, **workshop_settings) as workshop:
        yield workshop


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    """Whom webhooks are sent to."""
    with http_server() as server:
        yield server


@pytest.fixture
def shutdown() -> Iterator[Shutdown]:
    """What stops a worker of the test's own, at the end if not before."""
    shutdown = Shutdown()
    yield shutdown
    shutdown.requested.set()
    shutdown.abandoned.set()
