"""A song that is being separated is cancelled, and the work on it ends; on the whole service with a trained network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import requests

from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer
from tests.support.service import AUTH, Service

SONG_S = 30


def post(service: Service, task_uuid: str, verb: str) -> Any:
    answer = requests.post(f"{service.url}/tasks/{task_uuid}/{verb}", auth=AUTH, timeout=60)
    assert answer.ok, answer.text
    return answer.json()


def network_pid(service: Service) -> int:
    started = [json.loads(line) for line in service.logs("processor").splitlines() if "child.started" in line]
    pid: int = [line["pid"] for line in started if line["child"] == "network"][-1]
    return pid


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def was_separated(service: Service, task_uuid: str) -> bool:
    lines = service.logs("processor").splitlines()
    return any("task.separated" in line and task_uuid in line for line in lines)


def left_on_disk(service: Service) -> list[Path]:
    return [*service.temp_dir.glob("*"), *(service.output_dir / "pending").glob("*")]


def test_work_on_a_cancelled_song_ends_before_the_song_does(service: Service, web: HttpServer) -> None:
    song = web.answer("/long.flac", Answer(body=encoded(noise(SONG_S), ".flac", codec="flac")))
    task_uuid = service.generate(song, hook_url=web.url("/hook"))
    service.eventually(lambda: service.task(task_uuid)["progress"] > 0.1, "the network is at work")
    pid = network_pid(service)
    assert post(service, task_uuid, "cancel")["status"] == "cancelled"
    service.eventually(lambda: not is_running(pid), "the network stops")
    service.eventually(lambda: not left_on_disk(service), "nothing is kept of it")
    assert service.task(task_uuid)["status"] == "cancelled"
    assert not was_separated(service, task_uuid)

    assert post(service, task_uuid, "retry")["status"] == "queued"
    task = service.wait_for(task_uuid)
    assert (task["status"], task["attempt"]) == ("success", 1)
    assert was_separated(service, task_uuid)
    service.eventually(lambda: service.task(task_uuid)["webhook"]["state"] == "delivered", "its end is told")
    told = [request.headers["webhook-id"] for request in web.requests if request.path == "/hook"]
    assert told == [f"{task_uuid}.success.1"]
