"""One song seen from outside: its request id from client to webhook, its line in the log, its figures in /metrics."""

from __future__ import annotations

import json
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer
from tests.support.service import AUTH, DOORS, Service

SONG = encoded(noise(2), ".wav", codec="pcm_s16le")


def lines_about(service: Service, task_uuid: str) -> list[Any]:
    """The log lines of all doors that name the task."""
    lines = [line for door in DOORS for line in service.logs(door).splitlines() if task_uuid in line]
    return [json.loads(line) for line in lines]


def ends_told(service: Service, task_uuid: str) -> list[Any]:
    return [line for line in lines_about(service, task_uuid) if line["event"] == "task.ended"]


def submitted(service: Service, request_id: str, **body: str) -> str:
    answer = requests.post(
        f"{service.url}/generate", json=body, auth=AUTH, headers={"X-Request-ID": request_id}, timeout=60
    )
    assert answer.headers["X-Request-ID"] == request_id
    task_uuid: str = answer.json()["task_uuid"]
    return task_uuid


def figures(service: Service) -> dict[str, float]:
    """Each metric's samples of one name added up, over all labels."""
    answer = requests.get(f"{service.url}/metrics", auth=AUTH, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_a_request_id_is_followed_from_client_to_webhook(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=SONG))
    task_uuid = submitted(service, "followed-1", audio=audio, hook_url=web.url("/hook"))
    service.eventually(lambda: bool(ends_told(service, task_uuid)), "task.ended")
    about = [line for line in lines_about(service, task_uuid) if line["event"] != "request.answered"]
    followed = {(line["process"], line["event"]) for line in about if line.get("request_id") == "followed-1"}
    assert followed >= {
        ("processor", "task.fetched"),
        ("processor", "task.separated"),
        ("processor", "claim.settled"),
        ("uploader", "task.stored"),
        ("uploader", "webhook.tried"),
        ("uploader", "task.ended"),
    }
    [hook] = [request for request in web.requests if request.path == "/hook"]
    assert hook.headers["X-Request-ID"] == "followed-1"


def test_a_task_ends_with_one_line_that_tells_all(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=SONG))
    task_uuid = submitted(service, "told-1", audio=audio, hook_url=web.url("/hook"))
    service.eventually(lambda: service.task(task_uuid)["webhook"]["state"] == "delivered", "a webhook")
    [line] = ends_told(service, task_uuid)
    assert (line["status"], line["attempts"], line["webhook"]) == ("success", 1, "delivered")
    assert (line["model"], line["audio_s"], line["provider"]) == ("Spleeter-2stems", 2, "cpu")
    parts = ["queued_s", "fetch_s", "waited_s", "separation_s", "store_s"]
    assert 0 < sum(line[part] for part in parts) <= line["total_s"] + 0.1


def test_a_task_that_fails_is_told_with_the_reason(service: Service, web: HttpServer) -> None:
    task_uuid = submitted(service, "failed-1", audio=web.answer("/gone", Answer(404)))
    service.eventually(lambda: bool(ends_told(service, task_uuid)), "task.ended")
    [line] = ends_told(service, task_uuid)
    assert (line["status"], line["webhook"], line["request_id"]) == ("failed", "none", "failed-1")
    assert "404" in line["error"]


def test_one_song_moves_the_figures_of_every_process(service: Service, web: HttpServer) -> None:
    before = figures(service)
    audio = web.answer("/song.wav", Answer(body=SONG))
    submitted(service, "counted-1", audio=audio, hook_url=web.url("/hook"))
    least = {
        "uvr_tasks_ended_total": 1,
        "uvr_fetch_seconds_count": 1,
        "uvr_audio_seconds_sum": 2,
        "uvr_separation_seconds_count": 1,
        "uvr_real_time_factor_count": 1,
        "uvr_network_gap_seconds_count": 1,
        "uvr_network_busy_seconds_total": 0.001,
        "uvr_store_seconds_count": 1,
        "uvr_webhook_tries_total": 1,
        "uvr_claims_total": 3,
        "uvr_http_requests_total": 2,
    }

    def moved() -> bool:
        now = figures(service)
        return all(now.get(name, 0) >= before.get(name, 0) + more for name, more in least.items())

    service.eventually(moved, "the figures of one song")
    assert figures(service)["uvr_workers"] == 2


def test_probes_that_go_well_leave_no_line(service: Service) -> None:
    for path in ("/health", "/ready", "/metrics"):
        assert requests.get(service.url + path, auth=AUTH, timeout=60).status_code == 200
    paths = [json.loads(line).get("path") for line in service.logs("app").splitlines()]
    assert not {"/health", "/ready", "/metrics"} & set(paths)
