"""GET /health: depends on Redis alone, reports the workers, needs no credentials."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import application, settings_for
from tests.support.contract import assert_contract_time
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually
from uvr.liveness.workers import WorkerPresence


def health_once_up(client: FlaskClient, kind: str) -> Any:
    eventually(lambda: client.get("/health").json["components"][kind]["status"] == "up", f"a {kind} is up")
    return client.get("/health").json


def test_missing_workers_are_reported_and_leave_the_service_healthy(client: FlaskClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    report = answer.json
    assert list(report) == ["status", "timestamp", "time", "components"]
    assert_contract_time(report)
    assert report == {
        "status": "healthy",
        "components": {
            "redis": "up",
            "processor": {"status": "down", "workers": 0},
            "uploader": {"status": "down", "workers": 0},
        },
    }


def test_workers_are_counted_with_their_facts_but_not_their_names(client: FlaskClient, redis_client: Redis) -> None:
    facts = {"model": "Spleeter-2stems", "provider": "cpu"}
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: facts).announced():
        report = health_once_up(client, "processor")
    assert report["components"]["processor"] == {"status": "up", "workers": 1, **facts}
    assert report["components"]["uploader"]["status"] == "down"


def test_nodes_are_counted_and_not_named(client: FlaskClient, redis_client: Redis) -> None:
    with ExitStack() as processors:
        for node in ("one", "two"):
            processor = WorkerPresence(redis_client, "uvr_tasks", f"processor:{node}", lambda node=node: {"node": node})
            processors.enter_context(processor.announced())
        report = health_once_up(client, "processor")
    assert report["components"]["processor"] == {"status": "up", "workers": 2, "nodes": 2}


def test_health_is_a_503_while_redis_is_down_and_recovers(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, application(settings_for(server.connection_kwargs, tmp_path)) as app:
        client = app.test_client()
        assert client.get("/health").status_code == 200
        server.stop()
        answer = client.get("/health")
        assert answer.status_code == 503
        assert answer.json["status"] == "unhealthy"
        assert answer.json["components"]["redis"] == "down"
        assert answer.json["components"]["processor"] == {"status": "unknown", "workers": 0}
        server.start()
        assert client.get("/health").status_code == 200
