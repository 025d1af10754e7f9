"""/admin: what the admin sees of the whole service, and what can be done with its dead letters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from structlog.testing import capture_logs

from redis_queue import RedisQueue
from tests.support.api import CREDENTIALS, credentials, htpasswd, services_of
from tests.support.leases import begin
from uvr.api.services import Services
from uvr.liveness.disks import disks_fact
from uvr.liveness.workers import WorkerPresence
from uvr.redis import scripts
from uvr.storage.local import LocalStorage
from uvr.tasks.model import Status, Task, record

ENDPOINTS = [
    ("GET", "/admin/overview"),
    ("GET", "/admin/dead-letters"),
    ("POST", "/admin/dead-letters/a/retry"),
    ("DELETE", "/admin/dead-letters/a"),
]


@pytest.fixture
def api_settings(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "users.htpasswd"
    file.write_text(htpasswd("anna"))
    return {"basic_auth_users_file": file}


@pytest.fixture
def services(client: FlaskClient) -> Services:
    return services_of(client.application)


def submit(services: Services, task_uuid: str, priority: int = 3) -> None:
    task = Task(task_uuid, "https://songs.example/a.mp3", priority, 0, hook_url="https://a.example/hook")
    assert services.store.submit(task)


def bury(queue: RedisQueue, reason: str) -> str:
    """Make the first item a dead letter; returns its id."""
    lease = begin(queue)
    assert queue.bury(lease, record=record(status=Status.FAILED, error_message=reason))
    return lease.id


def overview(client: FlaskClient) -> Any:
    answer = client.get("/admin/overview", auth=CREDENTIALS)
    assert answer.status_code == 200, answer.text
    return answer.json


def listed(client: FlaskClient, query: str = "") -> tuple[list[str], int]:
    answer = client.get(f"/admin/dead-letters{query}", auth=CREDENTIALS)
    assert answer.status_code == 200, answer.text
    return [letter["task_uuid"] for letter in answer.json["dead_letters"]], answer.json["total"]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_others_than_the_admin_are_refused(client: FlaskClient, services: Services, method: str, path: str) -> None:
    submit(services, "a")
    bury(services.broker.tasks, "It was not audio.")
    assert client.open(path, method=method).status_code == 401
    refused = client.open(path, method=method, auth=credentials("anna"))
    assert (refused.status_code, "Only the admin" in refused.json["error"]) == (403, True)
    assert client.open(path, method="OPTIONS").status_code == 200
    assert listed(client) == (["a"], 1)


def test_the_overview_of_a_service_that_has_just_started_is_complete(client: FlaskClient) -> None:
    found = overview(client)
    assert found["tasks"] == dict.fromkeys(["queued", "processing", "uploading", "success", "failed", "cancelled"], 0)
    assert [(queue["queue"], queue["node"]) for queue in found["queues"]] == [
        ("tasks", None),
        ("results", None),
        ("webhooks", None),
    ]
    assert (found["workers"], found["nodes"]) == ([], [])
    assert found["redis"]["used_bytes"] > 0
    assert found["redis"]["server"].startswith(("Redis ", "Valkey "))
    storage = found["storage"]
    assert (storage["kind"], storage["usable"], storage["problem"], storage["stored_bytes"]) == ("local", None, None, 0)


def test_the_overview_shows_the_disks_that_workers_announce_and_those_of_the_api(
    client: FlaskClient, services: Services, redis_client: Redis, tmp_path: Path
) -> None:
    facts = {"model": "M", "node": "studio", "disks": disks_fact(services.settings, "TEMP_DIR", "MODEL_FILE_DIR")}
    announced = [facts, {"model": "of an older version"}, {"disks": "of a newer version"}, {"disks": '[{"folder": 1}]'}]
    for number, each in enumerate(announced):
        presence = WorkerPresence(redis_client, "uvr_tasks", "processor", lambda each=each: each)  # type: ignore[misc]
        presence.name += f":{number}"  # one process stands for several
        presence.announce()
    found = overview(client)
    disks = [(disk["kind"], disk["node"], disk["folder"]) for disk in found["disks"]]
    assert disks == [
        ("processor", "studio", "TEMP_DIR"),
        ("processor", "studio", "MODEL_FILE_DIR"),
        ("api", None, "TEMP_DIR"),
        ("api", None, "OUTPUT_DIR"),
    ]
    total_bytes = shutil.disk_usage(tmp_path).total
    assert {disk["total_bytes"] for disk in found["disks"] if disk["folder"] == "TEMP_DIR"} == {total_bytes}
    assert all(0 < disk["free_bytes"] <= disk["total_bytes"] for disk in found["disks"])
    bounds = {disk["folder"]: disk["min_free_bytes"] for disk in found["disks"]}
    assert bounds["TEMP_DIR"] == bounds["OUTPUT_DIR"] == services.settings.min_free_bytes > 0
    assert bounds["MODEL_FILE_DIR"] == 0
    assert all("disks" not in worker for worker in found["workers"])
    processor = client.get("/health").json["components"]["processor"]
    assert (processor["workers"], "disks" in processor) == (4, False), "free space is for the admin only"


def test_the_overview_shows_what_is_stored_and_why_nothing_can_be(
    client: FlaskClient, services: Services, redis_client: Redis, tmp_path: Path
) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(bytes(1000))
    services.storage.put(song, "a_vocals.wav", "audio/wav")
    services.storage.put(song, "folder/b_vocals.wav", "audio/wav")
    (tmp_path / "output/stems/.unfinished").write_bytes(bytes(500))
    states = []
    for name, reason in (("1", "The disk is read-only."), ("2", ""), ("1", "")):
        presence = WorkerPresence(redis_client, "uvr_tasks", "uploader", lambda reason=reason: {"paused": reason})  # type: ignore[misc]
        presence.name += name
        presence.announce()
        storage = overview(client)["storage"]
        states.append((storage["usable"], storage["problem"]))
    assert states == [(False, "The disk is read-only."), (True, "The disk is read-only."), (True, None)]
    assert (storage["folder"], storage["bucket"]) == (str(tmp_path / "output/stems"), None)
    assert storage["stored_bytes"] == 2000


@pytest.mark.parametrize("many", [True, False])
def test_the_size_of_too_many_files_is_not_counted(many: bool, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "stems", "", bytes)
    assert storage.stored_bytes(3) == 0
    (tmp_path / "song").write_bytes(b"song")
    for number in range(3 + many):
        storage.put(tmp_path / "song", f"{number}/vocals.wav", "audio/wav")
    assert storage.stored_bytes(3) == (None if many else 12)


def test_the_overview_says_how_redis_keeps_tasks(client: FlaskClient, redis_client: Redis) -> None:
    redis_client.config_set("appendonly", "no")
    redis_client.config_set("maxmemory", "1gb")
    try:
        found = overview(client)["redis"]
    finally:
        redis_client.config_set("maxmemory", 0)
    assert (found["max_bytes"], found["appendfsync"], found["writes_fail"]) == (2**30, "off", False)
    assert found["saved_s"] >= 0
    assert [risk.partition(":")[0] for risk in found["risks"]] == ["appendonly is off"]


def test_the_overview_shows_queues_by_priority_workers_nodes_and_dead_letters(
    client: FlaskClient, services: Services, redis_client: Redis
) -> None:
    for task_uuid, priority in (("a", 5), ("b", 5), ("c", 1)):
        submit(services, task_uuid, priority)
    bury(services.broker.tasks, "It was not audio.")
    facts = {"model": "Spleeter-2stems", "provider": "cpu", "node": "studio", "paused": "The disk is full."}
    WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: facts).announce()
    scripts.register(redis_client, "nodes/beat")(keys=["uvr_tasks"], args=["processor:studio", "1000"])
    found = overview(client)
    tasks = found["queues"][0]
    sizes = {size["priority"]: size["waiting"] for size in tasks["priorities"]}
    assert (list(sizes), sizes[5], sizes[1], tasks["dead"]) == ([5, 4, 3, 2, 1], 1, 1, 1)
    assert ("results", "studio") in [(queue["queue"], queue["node"]) for queue in found["queues"]]
    [worker] = found["workers"]
    assert {name: worker[name] for name in facts} == facts
    assert (worker["kind"], worker["name"].startswith("processor:")) == ("processor", False)
    [node] = found["nodes"]
    assert (node["node"], node["uploader_s"]) == ("studio", None)
    assert 0 <= node["processor_s"] < 60


def test_dead_letters_are_listed_page_by_page(client: FlaskClient, services: Services) -> None:
    for task_uuid in "abc":
        submit(services, task_uuid)
    buried = [bury(services.broker.tasks, f"reason {number}") for number in range(3)]
    answer = client.get("/admin/dead-letters?limit=1", auth=CREDENTIALS).json
    assert answer["total"] == 3
    pages = [listed(client, f"?queue=tasks&limit=2&start={start}")[0] for start in (0, 2, 4)]
    assert [len(page) for page in pages] == [2, 1, 0]
    assert sorted(pages[0] + pages[1]) == sorted(buried)
    assert listed(client, "?queue=webhooks") == ([], 0)
    [letter] = answer["dead_letters"]
    assert (letter["queue"], letter["node"], letter["failures"]) == ("tasks", None, 0)
    assert letter["error_message"].startswith("reason ")
    assert client.get("/admin/dead-letters?queue=none", auth=CREDENTIALS).status_code == 400


def test_a_dead_letter_is_brought_back_once(client: FlaskClient, services: Services) -> None:
    submit(services, "a")
    bury(services.broker.tasks, "It was not audio.")
    assert client.post("/admin/dead-letters/a/retry?queue=webhooks", auth=CREDENTIALS).status_code == 404
    with capture_logs() as logs:
        answer = client.post("/admin/dead-letters/a/retry", auth=CREDENTIALS)
    assert (answer.status_code, answer.headers["Location"]) == (202, "/tasks/a")
    assert ("dead_letter.retried", "a") in [(line["event"], line.get("task_uuid")) for line in logs]
    task = services.store.get("a")
    assert task
    assert (task.status, task.error_message) == (Status.QUEUED, "")
    assert begin(services.broker.tasks).id == "a"
    again = client.post("/admin/dead-letters/a/retry", auth=CREDENTIALS)
    assert (again.status_code, again.json["errors"][0]["field"]) == (404, "task_uuid")


def test_a_dead_letter_is_dropped_and_its_task_stays_failed(client: FlaskClient, services: Services) -> None:
    submit(services, "a")
    bury(services.broker.tasks, "It was not audio.")
    assert client.delete("/admin/dead-letters/a", auth=CREDENTIALS).status_code == 204
    assert listed(client) == ([], 0)
    task = services.store.get("a")
    assert task
    assert task.status is Status.FAILED
    assert client.delete("/admin/dead-letters/a", auth=CREDENTIALS).status_code == 404


def test_a_session_of_the_admin_may_do_this_and_that_of_a_user_may_not(client: FlaskClient) -> None:
    own_page = {"Sec-Fetch-Site": "same-origin"}
    for who, status in ((credentials("anna"), 403), (CREDENTIALS, 404)):
        body = {"username": who[0], "password": who[1]}
        browser = client.application.test_client()
        assert browser.post("/session", json=body, headers=own_page).status_code == 200
        cookie = browser.get_cookie("uvr_session")
        assert cookie
        answer = browser.delete("/admin/dead-letters/none", headers=own_page)
        assert answer.status_code == status
