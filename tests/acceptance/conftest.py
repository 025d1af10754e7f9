"""One running service for all tests that do not disturb it; tests that kill processes start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.redis_server import redis_server
from tests.support.service import Service, running_service
from uvr.models import store


@pytest.fixture(scope="session")
def trained_models(model_dir: Path) -> Path:
    """The model folder, with Spleeter-2stems in it."""
    store.ensure_model_file("Spleeter-2stems", model_dir)
    return model_dir


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, trained_models: Path) -> Iterator[Service]:
    """A service with default settings: stems on disk, served by the API."""
    folder = tmp_path_factory.mktemp("service")
    limits = {"MAX_AUDIO_BYTES": "20000000", "MAX_AUDIO_SECONDS": "60", "WEBHOOK_SECRET": "whsec_dGVzdGtleQ=="}
    (folder / "redis").mkdir()
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", trained_models, **limits) as service,
    ):
        yield service


@pytest.fixture
def web() -> Iterator[HttpServer]:
    """A host for audio and webhooks; `/hook` accepts every webhook."""
    with http_server() as server:
        server.answer("/hook", Answer(204))
        yield server
