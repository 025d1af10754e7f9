"""What an operator sees of one song: its request id from client to webhook, its line in the log, its metrics."""

from __future__ import annotations

from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer
from tests.support.service import AUTH, PROCESSES, Service

SONG = encoded(noise(2), ".wav", codec="pcm_s16le")


def lines_about(service: Service, task_uuid: str) -> list[Any]:
    """The log lines of all processes that name the task."""
    return [line for name in PROCESSES for line in service.log_lines(name, task_uuid)]


def end_lines(service: Service, task_uuid: str) -> list[Any]:
    return [line for line in lines_about(service, task_uuid) if line["event"] == "task.ended"]


def submitted(service: Service, request_id: str, **body: str) -> str:
    answer = requests.post(
        f"{service.url}/generate", json=body, auth=AUTH, headers={"X-Request-ID": request_id}, timeout=60
    )
    assert answer.headers["X-Request-ID"] == request_id
    task_uuid: str = answer.json()["task_uuid"]
    return task_uuid


def metrics(service: Service) -> dict[str, float]:
    """The sum of the samples of each name, over all labels."""
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
    service.eventually(lambda: bool(end_lines(service, task_uuid)), "task.ended is logged")
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


def test_a_task_ends_with_one_line_that_sums_it_up(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=SONG))
    task_uuid = submitted(service, "summed-up-1", audio=audio, hook_url=web.url("/hook"))
    service.wait_for_delivery(task_uuid)
    [line] = end_lines(service, task_uuid)
    assert (line["status"], line["attempts"], line["webhook"]) == ("success", 1, "delivered")
    assert (line["model"], line["audio_s"], line["provider"]) == ("Spleeter-2stems", 2, "cpu")
    parts = ["queued_s", "fetch_s", "waited_s", "separation_s", "store_s"]
    assert 0 < sum(line[part] for part in parts) <= line["total_s"] + 0.1


def test_the_line_of_a_failed_task_gives_the_reason(service: Service, web: HttpServer) -> None:
    task_uuid = submitted(service, "failed-1", audio=web.answer("/gone", Answer(404)))
    service.eventually(lambda: bool(end_lines(service, task_uuid)), "task.ended")
    [line] = end_lines(service, task_uuid)
    assert (line["status"], line["webhook"], line["request_id"]) == ("failed", "none", "failed-1")
    assert "404" in line["error"]


def test_one_song_changes_the_metrics_of_every_process(service: Service, web: HttpServer) -> None:
    before = metrics(service)
    audio = web.answer("/song.wav", Answer(body=SONG))
    submitted(service, "counted-1", audio=audio, hook_url=web.url("/hook"))
    min_increase = {
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

    def increased() -> bool:
        now = metrics(service)
        return all(now.get(name, 0) >= before.get(name, 0) + more for name, more in min_increase.items())

    service.eventually(increased, "the metrics of one song")
    assert metrics(service)["uvr_workers"] == 2


def test_probes_that_succeed_are_not_logged(service: Service) -> None:
    for path in ("/health", "/ready", "/metrics"):
        assert requests.get(service.url + path, auth=AUTH, timeout=60).status_code == 200
    paths = [line.get("path") for line in service.log_lines("app")]
    assert not {"/health", "/ready", "/metrics"} & set(paths)
