"""Disks, as the running service minds them: no task is begun without room, and what nobody owns is cleared away."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import requests

from tests.support.redis_server import redis_server
from tests.support.service import Service


def ready(service: Service) -> dict[str, Any]:
    """The components of /ready."""
    parts: dict[str, Any] = requests.get(f"{service.url}/ready", timeout=60).json()["components"]
    return parts


def test_a_processor_without_room_begins_nothing_and_says_why(tmp_path: Path, trained_models: Path) -> None:
    (tmp_path / "redis").mkdir()
    limits = {"MIN_FREE_BYTES": str(2**62), "JANITOR_SECONDS": "0.2"}
    with redis_server(tmp_path / "redis") as redis:
        service = Service(tmp_path, f"unix://{redis.unix_socket_path}", trained_models, **limits)
        try:
            service.start()
            service.wait_until_up()
            task_uuid = service.generate("http://127.0.0.1:1/song.wav")
            ownerless = service.temp_dir / f"{task_uuid}.1.abcdefgh"
            foreign = service.temp_dir / f"{uuid.uuid4()}.1.abcdefgh"
            for folder in (ownerless, foreign):
                folder.mkdir(parents=True)
            service.eventually(lambda: ready(service)["processor"]["status"] == "paused", "the processor pauses")
            service.eventually(lambda: not ownerless.exists(), "the uploader clears away")
            assert foreign.exists()
            assert "MIN_FREE_BYTES" in ready(service)["processor"]["message"]
            assert ready(service)["uploader"]["status"] == "up"
            task = service.task(task_uuid)
            assert (task["status"], task["attempt"]) == ("queued", 0)
            assert service.logs("processor").count("disk.short") == 1
        finally:
            service.stop()
