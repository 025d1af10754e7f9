"""The running service looks after its disks: it starts no task without free space and removes abandoned folders."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.support.redis_server import redis_server
from tests.support.service import Service


def test_a_processor_without_free_space_starts_no_task_and_says_why(tmp_path: Path, trained_models: Path) -> None:
    (tmp_path / "redis").mkdir()
    limits = {"MIN_FREE_BYTES": str(2**62), "JANITOR_SECONDS": "0.2"}
    with redis_server(tmp_path / "redis") as redis:
        service = Service(tmp_path, f"unix://{redis.unix_socket_path}", trained_models, **limits)
        try:
            service.start()
            service.wait_until_up()
            task_uuid = service.generate("http://127.0.0.1:1/song.wav")
            abandoned = service.temp_dir / f"{task_uuid}.1.abcdefgh"
            foreign = service.temp_dir / f"{uuid.uuid4()}.1.abcdefgh"
            for folder in (abandoned, foreign):
                folder.mkdir(parents=True)
            service.eventually(lambda: service.ready()["processor"]["status"] == "paused", "the processor pauses")
            service.eventually(lambda: not abandoned.exists(), "the uploader removes the abandoned folder")
            assert foreign.exists()
            assert "MIN_FREE_BYTES" in service.ready()["processor"]["message"]
            assert service.ready()["uploader"]["status"] == "up"
            task = service.task(task_uuid)
            assert (task["status"], task["attempt"]) == ("queued", 0)
            assert service.log("processor").count("disk.short") == 1
        finally:
            service.stop()
