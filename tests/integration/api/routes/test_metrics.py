"""GET /metrics: valid Prometheus text, every metric documented, for the admin and METRICS_TOKEN only."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.support.api import CREDENTIALS, application, hashed, post_generate, services_of, settings_for
from tests.support.leases import claim
from tests.support.waiting import PROMPT_S
from uvr.liveness.disks import FolderSpace
from uvr.liveness.workers import WorkerPresence
from uvr.metrics.definitions import HTTP_REQUESTS, METRICS, STORAGE_ERRORS, UNSENT
from uvr.models.announcements import ModelAnnouncements, RunnableModel
from uvr.tasks.model import Task
from uvr.timestamps import now_ms

DOCS = (Path(__file__).resolve().parents[4] / "docs" / "metrics.md").read_text(encoding="utf-8")
SONG = "https://songs.example.com/a.mp3"
TOKEN = "a token for scrapers"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

Labels = frozenset[tuple[str, str]]

pytestmark = pytest.mark.usefixtures("nothing_counted")


@pytest.fixture
def api_settings(tmp_path: Path) -> dict[str, Any]:
    users = tmp_path / "users"
    users.write_text(f"anna:{hashed('her own')}\n")
    return {"metrics_token": TOKEN, "basic_auth_users_file": users}


def scraped(client: FlaskClient) -> dict[tuple[str, Labels], float]:
    """Each sample by its name and labels."""
    answer = client.get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(part.name, frozenset(part.labels.items())): part.value for family in families for part in family.samples}


def series(name: str, **labels: str) -> tuple[str, Labels]:
    return name, frozenset(labels.items())


def test_uploaders_that_keep_what_is_too_old_are_counted(client: FlaskClient, redis_client: Redis) -> None:
    assert scraped(client)[series("uvr_retention_paused")] == 0
    with WorkerPresence(
        redis_client, "uvr_tasks", "uploader", lambda: {"retention": "Nothing is deleted."}
    ).announced():
        assert scraped(client)[series("uvr_retention_paused")] == 1


def test_the_admin_and_the_token_may_see_the_metrics(client: FlaskClient) -> None:
    assert client.get("/metrics", auth=CREDENTIALS).status_code == 200
    assert client.get("/metrics", headers=BEARER).status_code == 200


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Bearer ", f"Basic {TOKEN}", "Bearer é"])
def test_other_credentials_are_refused(client: FlaskClient, authorization: str) -> None:
    answer = client.get("/metrics", headers={"Authorization": authorization} if authorization else {})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_other_users_may_not_see_the_metrics(client: FlaskClient) -> None:
    assert client.get("/metrics", auth=("anna", "her own")).status_code == 403


def test_the_token_is_refused_everywhere_else(client: FlaskClient) -> None:
    assert client.get("/tasks", headers=BEARER).status_code == 401


def test_without_a_configured_token_every_token_is_refused(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    with application(settings) as app, app.test_client() as client:
        assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


def test_waiting_items_are_shown_by_priority_and_age(client: FlaskClient, redis_client: Redis) -> None:
    for priority in (5, 5, 2):
        post_generate(client, {"audio": SONG, "priority": priority})
    queue = services_of(client.application).broker.tasks
    [oldest] = redis_client.zrange("uvr_tasks", 2, 2)
    redis_client.zincrby("uvr_tasks", -100 * (6 - 2), oldest)
    queue.retry(claim(queue), delay_s=60)
    samples = scraped(client)
    tasks = {"queue": "tasks", "node": ""}
    assert samples[series("uvr_queue_waiting", **tasks, priority="5")] == 1
    assert samples[series("uvr_queue_waiting", **tasks, priority="2")] == 1
    assert samples[series("uvr_queue_waiting", **tasks, priority="3")] == 0
    assert samples[series("uvr_queue_oldest_seconds", **tasks, priority="2")] == pytest.approx(100, abs=PROMPT_S)
    assert samples[series("uvr_queue_oldest_seconds", **tasks, priority="5")] == pytest.approx(0, abs=PROMPT_S)
    assert samples[series("uvr_queue_delayed", **tasks)] == 1
    assert samples[series("uvr_tasks", status="queued")] == 3


def test_every_queue_shows_leased_and_dead_items(client: FlaskClient, redis_client: Redis) -> None:
    services = services_of(client.application)
    redis_client.zadd("uvr_tasks:nodes", {"processor:north": 1})
    north = services.broker.result_queue("north")
    for queue in (services.broker.tasks, services.broker.webhooks, north):
        for _ in range(2):
            queue.enqueue(str(uuid.uuid4()), 3)
        queue.bury(claim(queue))
        claim(queue)
    samples = scraped(client)
    for labels in (
        {"queue": "tasks", "node": ""},
        {"queue": "webhooks", "node": ""},
        {"queue": "results", "node": "north"},
    ):
        assert samples[series("uvr_queue_leased", **labels)] == 1
        assert samples[series("uvr_queue_dead", **labels)] == 1
    assert samples[series("uvr_queue_dead", queue="results", node="")] == 0


def test_workers_are_shown_by_the_facts_that_they_announce(client: FlaskClient, redis_client: Redis) -> None:
    facts = {"model": "M", "provider": "cuda", "node": "north", "paused": "The disk is full."}
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: facts).announced():
        samples = scraped(client)
    labels = {"kind": "processor", "node": "north", "model": "M", "provider": "cuda", "storage": "", "paused": "yes"}
    assert samples[series("uvr_workers", **labels)] == 1
    no_worker = {"kind": "uploader", "node": "", "model": "", "provider": "", "storage": "", "paused": "no"}
    assert samples[series("uvr_workers", **no_worker)] == 0


def test_requests_are_counted_by_route_and_clients_choose_no_label(client: FlaskClient) -> None:
    for _ in range(2):
        client.get(f"/tasks/{uuid.uuid4()}", auth=CREDENTIALS)
    client.get("/no/such/address")
    client.open("/health", method="BREW")
    samples = scraped(client)
    assert samples[series("uvr_http_requests_total", method="GET", route="/tasks/<task_uuid>", status="404")] == 2
    assert samples[series("uvr_http_requests_total", method="GET", route="none", status="404")] == 1
    assert samples[series("uvr_http_requests_total", method="other", route="none", status="405")] == 1
    took = {"method": "GET", "route": "/tasks/<task_uuid>"}
    assert samples[series("uvr_http_request_seconds_count", **took)] == 2
    assert samples[series("uvr_http_request_seconds_bucket", **took, le="+Inf")] == 2
    assert 0 < samples[series("uvr_http_request_seconds_sum", **took)] < 10


def test_known_series_exist_before_anything_happens(client: FlaskClient) -> None:
    samples = scraped(client)
    assert samples[series("uvr_webhook_tries_total", outcome="final")] == 0
    assert samples[series("uvr_storage_errors_total", storage="s3", kind="permanent")] == 0
    assert samples[series("uvr_fetch_seconds_count")] == 0


def test_sums_of_another_version_with_other_labels_are_ignored(client: FlaskClient, redis_client: Redis) -> None:
    HTTP_REQUESTS.add(method="GET", route="/x", status="200")
    STORAGE_ERRORS.add(storage="s3", kind="transient")
    scraped(client)
    redis_client.hset("uvr_tasks:metrics", '["uvr_storage_errors_total", "", "s3"]', "7")
    redis_client.hset("uvr_tasks:metrics", '["uvr_no_such_metric_total", "", "x"]', "7")
    samples = scraped(client)
    assert samples[series("uvr_storage_errors_total", storage="s3", kind="transient")] == 1
    assert 7 not in samples.values()


def test_without_redis_the_token_still_sees_that_it_is_down(tmp_path: Path) -> None:
    settings = settings_for({"path": tmp_path / "no.sock"}, tmp_path, metrics_token=TOKEN)
    with application(settings) as app, app.test_client() as client:
        assert scraped(client) == {series("uvr_redis_up"): 0}
    UNSENT.take()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_the_token_cannot_be_guessed(client: FlaskClient, scheme: str) -> None:
    assert client.get("/metrics", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200
    guesses = [client.get("/metrics", headers={"Authorization": f"{scheme} {n}"}).status_code for n in range(7)]
    assert guesses == [401] * 5 + [429] * 2
    refused = client.get("/metrics", headers=BEARER)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert client.options("/metrics", headers=BEARER).status_code == 200, "as for every other token"
    assert client.get("/metrics", headers=BEARER, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200


def test_the_token_cannot_be_guessed_without_redis_either(tmp_path: Path) -> None:
    settings = settings_for({"path": tmp_path / "no.sock"}, tmp_path, metrics_token=TOKEN)
    with application(settings) as app, app.test_client() as client:
        answers = [client.get("/metrics", headers={"Authorization": f"Bearer {n}"}) for n in range(30)]
        assert {answer.status_code for answer in answers} == {503, 429}
    UNSENT.take()


@contextmanager
def processor_with(redis: Redis, *loaded: str) -> Iterator[None]:
    """A processor that has these models loaded, each with 1 GB."""
    presence = WorkerPresence(redis, "uvr_tasks", "processor", lambda: {"loaded": ", ".join(loaded)})
    models = [RunnableModel(name, memory_bytes=10**9) for name in loaded]
    ModelAnnouncements(redis, "uvr_tasks").announce(presence.name, [*models, RunnableModel("never loaded")])
    with presence.announced():
        yield


def test_loaded_models_are_counted_with_their_memory(client: FlaskClient, redis_client: Redis) -> None:
    with processor_with(redis_client, "one", "another"):
        samples = scraped(client)
    shown = {part: value for part, value in samples.items() if part[0].startswith("uvr_model_")}
    assert shown == {
        series("uvr_model_loaded", model="one"): 1,
        series("uvr_model_loaded", model="another"): 1,
        series("uvr_model_memory_bytes", model="one"): 1e9,
        series("uvr_model_memory_bytes", model="another"): 1e9,
    }


def announced_disk(redis: Redis, number: int, free_bytes: int) -> None:
    """A worker of the node north with so much free space; one process stands for several."""
    space = FolderSpace("OUTPUT_DIR", free_bytes, total_bytes=1000, min_free_bytes=50)
    disks = json.dumps([asdict(space)])
    presence = WorkerPresence(redis, "uvr_tasks", "processor", lambda: {"node": "north", "disks": disks})
    presence.name += f":{number}"
    presence.announce()


def test_the_least_free_space_of_a_node_is_shown_to_scrapers_and_not_to_everyone(
    client: FlaskClient, redis_client: Redis
) -> None:
    announced_disk(redis_client, 1, 700)
    announced_disk(redis_client, 2, 300)
    samples, where = scraped(client), {"node": "north", "folder": "OUTPUT_DIR"}
    assert samples[series("uvr_disk_free_bytes", **where)] == 300
    assert samples[series("uvr_disk_min_free_bytes", **where)] == 50
    assert "disks" not in client.get("/health").json["components"]["processor"]


def test_every_metric_is_documented_with_its_labels(client: FlaskClient, redis_client: Redis) -> None:
    rows = re.findall(r"^\| `(uvr_\w+)` \| ([\w, ]*)\|", DOCS, re.MULTILINE)
    documented = {name: {label for label in re.split(r"[, ]+", labels) if label} for name, labels in rows}
    announced_disk(redis_client, 1, 700)
    with processor_with(redis_client, "one"):
        shown = {name.removesuffix("_total"): set(dict(labels)) for name, labels in families(client)}
    assert {name.removesuffix("_total") for name in documented} == set(shown)
    for metric in METRICS:
        assert documented[metric.name] == set(metric.labels), metric.name
    gauges = documented.keys() - {metric.name for metric in METRICS}
    assert {name: documented[name] for name in gauges} == {name: shown[name] for name in gauges}


def families(client: FlaskClient) -> list[tuple[str, Any]]:
    """The name of each family, and the labels of its first sample."""
    text = client.get("/metrics", headers=BEARER).text
    found = text_string_to_metric_families(text)
    return [(family.name, family.samples[0].labels if family.samples else {}) for family in found]


def test_a_scrape_does_not_grow_with_the_queue(client: FlaskClient, redis_client: Redis) -> None:
    store = services_of(client.application).store
    scraped(client)
    for _ in range(50):
        store.submit(Task(str(uuid.uuid4()), SONG, 3, now_ms()))
    redis_client.config_resetstat()
    scraped(client)
    commands: Any = redis_client.info("commandstats")
    looked = sum(stats["calls"] for name, stats in commands.items() if not name.startswith("cmdstat_client"))
    assert looked < 150, commands
