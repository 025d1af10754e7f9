"""GET /ready: whether a task submitted now would be accepted and processed, and if not, why not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from redis import Redis

from scripts.local.health import why_not_ready
from tests.support.api import application, served, settings_for
from tests.support.contract import assert_contract_time
from tests.support.redis_server import redis_server
from uvr.disk import DiskCheck
from uvr.liveness.workers import WorkerPresence

Facts = dict[str, str]


def ready_with(client: FlaskClient, redis_client: Redis, *workers: tuple[str, Facts]) -> tuple[int, Any]:
    """Status and body of the response while these workers run."""
    with ExitStack() as stack:
        for number, (kind, facts) in enumerate(workers):
            presence = WorkerPresence(redis_client, "uvr_tasks", kind, lambda facts=facts: facts)
            presence.name += f":{number}"  # one process plays several workers
            stack.enter_context(presence.announced())
        answer = client.get("/ready")
    return answer.status_code, answer.json


def test_redis_and_both_kinds_of_workers_are_ready(client: FlaskClient, redis_client: Redis) -> None:
    status, report = ready_with(client, redis_client, ("processor", {"model": "M"}), ("uploader", {}))
    assert status == 200
    assert_contract_time(report)
    up = {"status": "up", "message": None}
    assert report == {"status": "ready", "components": {"redis": up, "processor": up, "uploader": up}}


@pytest.mark.parametrize("missing", ["processor", "uploader"])
def test_without_one_kind_of_worker_it_is_not_ready(client: FlaskClient, redis_client: Redis, missing: str) -> None:
    workers = [(kind, {}) for kind in ("processor", "uploader") if kind != missing]
    status, report = ready_with(client, redis_client, *workers)
    assert (status, report["status"]) == (503, "not ready")
    part = report["components"][missing]
    assert part == {"status": "down", "message": f"No {missing} runs; tasks wait until one does."}


def test_a_processor_whose_disk_is_full_says_so(client: FlaskClient, redis_client: Redis, tmp_path: Path) -> None:
    shortage = DiskCheck({"TEMP_DIR": tmp_path}, 2**62).shortage()
    workers = [("processor", {"paused": shortage}), ("uploader", {"paused": ""})]
    status, report = ready_with(client, redis_client, *workers)
    assert status == 503
    assert report["components"]["processor"] == {"status": "paused", "message": shortage}
    assert report["components"]["uploader"]["status"] == "up"


def test_a_storage_that_refuses_files_is_named_and_leaves_the_api_healthy(
    client: FlaskClient, redis_client: Redis
) -> None:
    paused = {"paused": "The bucket does not exist: check S3_BUCKET_NAME and S3_ENDPOINT_URL.", "storage": "s3"}
    workers = [("processor", {"paused": paused["paused"]}), ("uploader", paused)]
    status, report = ready_with(client, redis_client, *workers)
    assert status == 503
    paused_part = {"status": "paused", "message": paused["paused"]}
    assert (report["components"]["uploader"], report["components"]["processor"]) == (paused_part, paused_part)
    with WorkerPresence(redis_client, "uvr_tasks", "uploader", lambda: paused).announced():
        health = client.get("/health")
    assert (health.status_code, health.json["status"]) == (200, "healthy")
    assert health.json["components"]["uploader"] == {"status": "up", "workers": 1, **paused}


def test_the_start_script_warns_why_tasks_wait(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    paused = {"paused": "The bucket does not exist."}
    with application(settings) as app, served(app) as url, ExitStack() as stack:
        where = settings.model_copy(update={"api_port": urlsplit(url).port})
        for kind in ("processor", "uploader"):
            stack.enter_context(WorkerPresence(redis_client, "uvr_tasks", kind, lambda: paused).announced())
        assert why_not_ready(where) == ["The bucket does not exist."]
        paused.clear()
        for kind in ("processor", "uploader"):
            WorkerPresence(redis_client, "uvr_tasks", kind, dict).announce()
        assert why_not_ready(where) == []


def test_one_paused_processor_of_two_is_reported_and_the_service_is_ready(
    client: FlaskClient, redis_client: Redis
) -> None:
    paused = {"paused": "The disk of OUTPUT_DIR has 0.1 GiB free."}
    status, report = ready_with(client, redis_client, ("processor", paused), ("processor", {}), ("uploader", {}))
    assert status == 200
    part = report["components"]["processor"]
    assert part == {"status": "up", "message": "1 of 2 paused. The disk of OUTPUT_DIR has 0.1 GiB free."}


def test_an_uploader_that_deletes_nothing_because_of_its_age_is_ready_and_says_why(
    client: FlaskClient, redis_client: Redis
) -> None:
    kept = {"retention": "Nothing is deleted because of its age: …"}
    status, report = ready_with(client, redis_client, ("processor", {}), ("uploader", kept))
    assert (status, report["components"]["uploader"]) == (200, {"status": "up", "message": kept["retention"]})
    paused = {"paused": "The bucket does not exist.", **kept}
    status, report = ready_with(client, redis_client, ("processor", {}), ("uploader", paused))
    message = "The bucket does not exist. Nothing is deleted because of its age: …"
    assert (status, report["components"]["uploader"]) == (503, {"status": "paused", "message": message})


def test_a_processor_that_waits_for_downloads_says_so_and_the_service_is_ready(
    client: FlaskClient, redis_client: Redis
) -> None:
    sentence = "The network has nothing to do: all 3 claimed songs are still being downloaded."
    waiting, full = {"idle": sentence}, {"paused": "The disk is full.", "idle": sentence}
    status, report = ready_with(client, redis_client, ("processor", waiting), ("processor", {}), ("uploader", {}))
    assert (status, report["components"]["processor"]["status"]) == (200, "up")
    assert report["components"]["processor"]["message"] == f"1 of 2 idle. {sentence}"
    _, report = ready_with(client, redis_client, ("processor", waiting), ("processor", full), ("uploader", {}))
    assert report["components"]["processor"]["message"] == f"1 of 2 paused. The disk is full. 1 of 2 idle. {sentence}"


def test_a_redis_that_accepts_no_writes_is_not_ready_and_the_check_writes_nothing(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as server,
        Redis(**server.connection_kwargs) as admin,
        application(settings_for(server.connection_kwargs, tmp_path)) as app,
    ):
        before = admin.info("persistence")["rdb_changes_since_last_save"]
        assert app.test_client().get("/ready").json["components"]["redis"]["status"] == "up"
        assert admin.info("persistence")["rdb_changes_since_last_save"] == before
        admin.config_set("maxmemory", 1)
        answer = app.test_client().get("/ready")
    assert answer.status_code == 503
    assert answer.json["components"]["redis"]["message"].startswith("Redis accepts no writes")
    assert answer.json["components"]["processor"]["status"] == "down"


def test_a_redis_that_is_down_is_not_ready(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, application(settings_for(server.connection_kwargs, tmp_path)) as app:
        server.stop()
        answer = app.test_client().get("/ready")
    assert answer.status_code == 503
    report = answer.json["components"]
    assert report["redis"] == {"status": "down", "message": "Redis does not respond, or is still starting."}
    assert {report[kind]["status"] for kind in ("processor", "uploader")} == {"unknown"}
