"""An accepted task reaches exactly one final state, even if processes of the service are killed on its way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.audio import encoded, noise, read_audio
from tests.support.http_server import Answer, HttpServer
from tests.support.processes import is_running
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service
from tests.support.waiting import PROMPT_S, eventually

LONG_S = 30

QUICK = {
    "LEASE_SECONDS": "3",
    "HEARTBEAT_SECONDS": "1",
    "RETRY_BASE_SECONDS": "0.1",
    "WEBHOOK_RETRY_SECONDS": "0.5",
    "SHUTDOWN_GRACE_SECONDS": "0",
}


@pytest.fixture(scope="module")
def mortal_service(tmp_path_factory: pytest.TempPathFactory, trained_models: Path) -> Iterator[Service]:
    """A service whose API runs. Each test begins with `run_workers`."""
    folder = tmp_path_factory.mktemp("mortal")
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as redis:
        service = Service(folder, f"unix://{redis.unix_socket_path}", trained_models, **QUICK)
        try:
            service.start("app")
            service.wait_until_up("redis")
            yield service
        finally:
            service.stop()


@pytest.fixture
def short_song(web: HttpServer) -> str:
    return web.answer("/short.wav", Answer(body=encoded(noise(1), ".wav", codec="pcm_s16le")))


@pytest.fixture
def long_song(web: HttpServer) -> str:
    return web.answer("/long.flac", Answer(body=encoded(noise(LONG_S), ".flac", codec="flac")))


def run_workers(service: Service, *names: str) -> None:
    """Run these workers and no others, as the previous test may have left any state."""
    for name in ("processor", "uploader"):
        if name in names:
            service.ensure_running(name)
        elif service.is_running(name):
            service.kill(name)


def assert_stems(service: Service, task_uuid: str, seconds: float) -> None:
    task = service.wait_for(task_uuid)
    assert task["status"] == "success", task
    for url in task["stems"].values():
        assert read_audio(requests.get(url, timeout=60).content).shape == (2, seconds * 44100)


def wait_until_separating(service: Service, task_uuid: str) -> None:
    service.eventually(lambda: service.task(task_uuid)["progress"] > 0, "the separation runs")


def test_tasks_wait_for_a_worker_and_are_claimed_by_priority(mortal_service: Service, short_song: str) -> None:
    run_workers(mortal_service)
    ids = {priority: mortal_service.generate(short_song, priority=priority) for priority in (1, 4, 2, 5, 3)}
    assert mortal_service.task(ids[5])["position"] == 0
    assert mortal_service.task(ids[1])["position"] == 4
    mortal_service.start("processor", "uploader")
    started = {priority: mortal_service.wait_for(task_uuid)["started_at"] for priority, task_uuid in ids.items()}
    assert sorted(started, key=lambda priority: started[priority]) == [5, 4, 3, 2, 1]


def test_the_task_of_a_killed_processor_goes_to_the_next_one(mortal_service: Service, long_song: str) -> None:
    run_workers(mortal_service, "processor", "uploader")
    task_uuid = mortal_service.generate(long_song)
    wait_until_separating(mortal_service, task_uuid)
    child = mortal_service.network_pid()
    mortal_service.kill("processor")
    eventually(lambda: not is_running(child), "the child ends with its parent", PROMPT_S)
    mortal_service.start("processor")
    assert_stems(mortal_service, task_uuid, LONG_S)
    assert mortal_service.task(task_uuid)["attempt"] == 2


def test_a_killed_child_costs_one_attempt(mortal_service: Service, long_song: str) -> None:
    run_workers(mortal_service, "processor", "uploader")
    task_uuid = mortal_service.generate(long_song)
    wait_until_separating(mortal_service, task_uuid)
    os.kill(mortal_service.network_pid(), signal.SIGKILL)
    assert_stems(mortal_service, task_uuid, LONG_S)
    assert mortal_service.task(task_uuid)["attempt"] == 2
    assert mortal_service.processes["processor"].poll() is None


def test_a_stopped_processor_hands_its_task_back_before_it_ends(mortal_service: Service, long_song: str) -> None:
    run_workers(mortal_service, "processor", "uploader")
    task_uuid = mortal_service.generate(long_song)
    wait_until_separating(mortal_service, task_uuid)
    assert mortal_service.kill("processor", signal.SIGTERM) == 0
    task = mortal_service.task(task_uuid)
    assert (task["status"], task["progress"]) == ("queued", 0)
    mortal_service.start("processor")
    assert_stems(mortal_service, task_uuid, LONG_S)


def test_results_wait_for_an_uploader(mortal_service: Service, short_song: str) -> None:
    run_workers(mortal_service, "processor")
    task_uuid = mortal_service.generate(short_song)
    mortal_service.wait_for(task_uuid, "uploading")
    mortal_service.kill("processor")
    mortal_service.start("uploader")
    assert_stems(mortal_service, task_uuid, 1)


def test_a_webhook_is_sent_again_to_a_busy_receiver(mortal_service: Service, web: HttpServer, short_song: str) -> None:
    hook = web.answer("/busy", Answer(503), Answer(204))
    run_workers(mortal_service, "processor", "uploader")
    task_uuid = mortal_service.generate(short_song, hook_url=hook)
    mortal_service.wait_for(task_uuid)
    attempts = mortal_service.wait_for_delivery(task_uuid)["webhook"]["tries"]
    assert [attempt["status_code"] for attempt in attempts] == [503, 204]
    requests_ = [request for request in web.requests if request.path == "/busy"]
    assert len(requests_) == 2
    assert len({request.headers["webhook-id"] for request in requests_}) == 1


def test_a_busy_audio_host_is_asked_again(mortal_service: Service, web: HttpServer) -> None:
    song = encoded(noise(1), ".wav", codec="pcm_s16le")
    audio = web.answer("/busy.wav", Answer(503), Answer(body=song))
    run_workers(mortal_service, "processor", "uploader")
    task_uuid = mortal_service.generate(audio)
    assert_stems(mortal_service, task_uuid, 1)
    assert mortal_service.task(task_uuid)["attempt"] == 2


def test_the_api_can_be_killed_and_started_again_at_any_time(mortal_service: Service, short_song: str) -> None:
    run_workers(mortal_service, "processor", "uploader")
    ids = [mortal_service.generate(short_song) for _ in range(3)]
    mortal_service.kill("app")
    time.sleep(0.5)
    mortal_service.start("app")
    mortal_service.wait_until_up()
    for task_uuid in ids:
        assert_stems(mortal_service, task_uuid, 1)
    listed = requests.get(f"{mortal_service.url}/tasks?limit=3", auth=AUTH, timeout=60).json()["tasks"]
    assert {task["task_uuid"] for task in listed} == set(ids)
