"""One user who uploads until the disk is full neither stops the service nor makes songs fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import PROMPT_S

MIB = 2**20
DISK_MIB, MIN_FREE_MIB = 12, 2
RATE_HZ = 192_000
"""At this rate, a song of a second has many bytes and takes little time."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("full") / "disk", DISK_MIB) as disk:
        yield disk


@pytest.fixture(scope="module")
def service(disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory, trained_models: Path) -> Iterator[Service]:
    """A service whose songs and stems are on the small disk."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "redis").mkdir()
    limits = {"MIN_FREE_BYTES": str(MIN_FREE_MIB * MIB), "RETRY_MAX_SECONDS": "0.2", "MAX_ATTEMPTS": "1"}
    folders = {"TEMP_DIR": str(disk.path / "temp"), "OUTPUT_DIR": str(disk.path / "output")}
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", trained_models, **limits, **folders) as service,
    ):
        yield service


def song(seconds: float) -> bytes:
    """A WAV file of 1.5 MiB per second."""
    return encoded(noise(seconds, rate=RATE_HZ), ".wav", codec="pcm_f32le", rate=RATE_HZ)


def test_uploads_are_refused_before_the_disk_is_too_full_for_their_stems(service: Service) -> None:
    answers = Counter[int]()
    accepted, refusals = [], []
    upload = song(0.5)
    for _ in range(26):
        files = {"audio": ("a.wav", upload)}
        answer = requests.post(f"{service.url}/generate", files=files, auth=AUTH, timeout=PROMPT_S)
        answers[answer.status_code] += 1
        (accepted if answer.status_code == 202 else refusals).append(answer)
    assert set(answers) == {202, 503}
    # The queue drains, and a processor could begin another song.
    tasks = [service.wait_for(answer.json()["task_uuid"]) for answer in accepted]
    assert {task["status"] for task in tasks} == {"success"}
    assert service.ready()["processor"]["status"] == "up"
    assert "enough disk space for this upload" in refusals[0].json()["detail"]
    assert refusals[0].headers["Retry-After"] == "60"
    for task in tasks:
        assert requests.delete(f"{service.url}/tasks/{task['task_uuid']}", auth=AUTH, timeout=PROMPT_S).ok


def test_a_song_that_fills_the_disk_waits_for_room_and_fails_no_try(
    service: Service, disk: SmallDisk, web: HttpServer
) -> None:
    ballast = disk.path / "of another program"
    ballast.write_bytes(bytes(2 * MIB))
    web.answer("/long.wav", Answer(body=song(5.0)))
    task_uuid = service.generate(web.url("/long.wav"))
    service.eventually(lambda: "waits_for" in service.task(task_uuid)["facts"], "the song waits for room")
    task = service.task(task_uuid)
    assert task["status"] == "queued"
    assert task["facts"]["waits_for"].startswith("The disk of TEMP_DIR is full; the song waits until more than 0.0")
    waiting = service.log_lines("processor", "claim.waits_for_room")
    assert {line["error_kind"] for line in waiting} == {"DiskFullError"}
    # Other songs are separated meanwhile.
    assert service.wait_for(service.send(song(0.25)))["status"] == "success"
    assert service.task(task_uuid)["status"] == "queued"

    disk.grow(100)
    task = service.wait_for(task_uuid)
    assert (task["status"], task["error_message"]) == ("success", None)
    fetched = [line for line in service.log_lines("processor", "task.fetched") if line["task_uuid"] == task_uuid]
    assert len(fetched) <= 3, "it was not fetched again and again while there was no room"
