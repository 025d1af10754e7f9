"""A song is cancelled while it is being separated, in the whole service with a trained network."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import requests

from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer
from tests.support.processes import is_running
from tests.support.service import AUTH, Service

SONG_S = 30


def post(service: Service, task_uuid: str, action: str) -> Any:
    answer = requests.post(f"{service.url}/tasks/{task_uuid}/{action}", auth=AUTH, timeout=60)
    assert answer.ok, answer.text
    return answer.json()


def was_separated(service: Service, task_uuid: str) -> bool:
    return any(line["task_uuid"] == task_uuid for line in service.log_lines("processor", "task.separated"))


def left_on_disk(service: Service) -> list[Path]:
    return [*service.temp_dir.glob("*"), *(service.output_dir / "pending").glob("*")]


def test_cancelling_a_song_ends_its_separation_and_a_retry_separates_it(service: Service, web: HttpServer) -> None:
    song = web.answer("/long.flac", Answer(body=encoded(noise(SONG_S), ".flac", codec="flac")))
    task_uuid = service.generate(song, hook_url=web.url("/hook"))
    service.eventually(lambda: service.task(task_uuid)["progress"] > 0.1, "the network is at work")
    pid = service.network_pid()
    os.kill(pid, signal.SIGSTOP)  # a frozen network never gets to the end of the song by itself
    assert post(service, task_uuid, "cancel")["status"] == "cancelled"
    service.eventually(lambda: not is_running(pid), "the network stops")
    service.eventually(lambda: not left_on_disk(service), "the files of the task are removed")
    assert service.task(task_uuid)["status"] == "cancelled"
    assert not was_separated(service, task_uuid)

    assert post(service, task_uuid, "retry")["status"] == "queued"
    task = service.wait_for(task_uuid)
    assert (task["status"], task["attempt"]) == ("success", 1)
    assert was_separated(service, task_uuid)
    service.wait_for_delivery(task_uuid)
    webhook_ids = [request.headers["webhook-id"] for request in web.requests if request.path == "/hook"]
    assert webhook_ids == [f"{task_uuid}.success.1"]
