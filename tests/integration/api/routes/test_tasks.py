"""GET /tasks and GET /tasks/{task_uuid}: one task in every status, and the list with its filters and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, post_generate, services_of, settings_for
from uvr.tasks.model import Status, Task, WebhookState


def stored(client: FlaskClient, task_uuid: str, **fields: Any) -> Task:
    """Store a task without the API."""
    values = {"audio": "https://songs.example.com/a.mp3", "priority": 3, "created_ms": 1_700_000_000_000, **fields}
    task = Task(task_uuid=task_uuid, **values)
    services_of(client.application).store.submit(task)
    return task


def show(client: FlaskClient, task_uuid: str) -> Any:
    return client.get(f"/tasks/{task_uuid}", auth=CREDENTIALS)


def listed(client: FlaskClient, query: str = "") -> list[str]:
    return [task["task_uuid"] for task in client.get(f"/tasks?{query}", auth=CREDENTIALS).json["tasks"]]


def test_queued_task_shows_its_position(client: FlaskClient) -> None:
    last = post_generate(client, {"audio": "https://songs.example.com/a.mp3", "priority": 1}).json["task_uuid"]
    first = post_generate(client, {"audio": "https://songs.example.com/b.mp3", "priority": 5}).json["task_uuid"]
    assert show(client, first).json["position"] == 0
    assert show(client, last).json["position"] == 1


def test_queued_task_has_every_field(client: FlaskClient) -> None:
    stored(client, "one", request_id="the-first")
    assert show(client, "one").json == {
        "task_uuid": "one",
        "status": "queued",
        "priority": 3,
        "progress": 0.0,
        "attempt": 0,
        "owner": None,
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": None,
        "finished_at": None,
        "audio": "https://songs.example.com/a.mp3",
        "error_message": None,
        "position": 0,
        "eta_s": None,
        "hook_url": None,
        "output_format": "wav",
        "vocals": None,
        "instrumental": None,
        "stems": {},
        "stems_deleted_at": None,
        "facts": {},
        "node": None,
        "lost_with": None,
        "request_id": "the-first",
        "webhook": {"state": "none", "tries": []},
    }


def test_secrets_in_urls_are_masked(client: FlaskClient) -> None:
    stored(client, "one", audio="https://a.example/s.mp3?X-Sig=abc", hook_url="https://user:word@b.example/h?token=abc")
    shown = show(client, "one").json
    assert shown["audio"] == "https://a.example/s.mp3?…"
    assert shown["hook_url"] == "https://…@b.example/h?…"
    assert "abc" not in client.get("/tasks", auth=CREDENTIALS).text


def test_finished_task_links_to_its_stems(client: FlaskClient) -> None:
    facts = {"model": "Spleeter-2stems", "provider": "cpu", "audio_s": 11.0, "gain": 1.0}
    stems = {"vocals": "one_vocals.wav", "instrumental": "one_instrumental.wav"}
    stored(client, "one", status=Status.SUCCESS, progress=1.0, stems=stems, facts=facts, finished_ms=1_700_000_009_000)
    shown = show(client, "one").json
    assert shown["vocals"].startswith("http://uvr.test/files/one_vocals.wav?")
    assert shown["stems"] == {"vocals": shown["vocals"], "instrumental": shown["instrumental"]}
    assert shown["facts"] == facts
    assert shown["finished_at"] == "2023-11-14T22:13:29.000Z"
    assert shown["position"] is None


def test_failed_task_says_why(client: FlaskClient) -> None:
    stored(client, "one", status=Status.FAILED, error_message="The file holds no audio.", attempt=1)
    shown = show(client, "one").json
    assert (shown["status"], shown["error_message"], shown["attempt"]) == ("failed", "The file holds no audio.", 1)
    assert (shown["vocals"], shown["stems"]) == (None, {})


def test_delivery_attempts_are_listed(client: FlaskClient) -> None:
    tried = {
        "webhook_id": "one.failed",
        "at": "2023-11-14T22:13:20Z",
        "status_code": 502,
        "duration_ms": 12,
        "error": "",
        "outcome": "retry",
        "retry_after_s": None,
    }
    stored(client, "one", hook_url="https://b.example/h", webhook=WebhookState.PENDING, webhook_tries=[tried])
    del tried["retry_after_s"]
    assert show(client, "one").json["webhook"] == {"state": "pending", "tries": [tried]}


@pytest.mark.parametrize("task_uuid", ["00000000-0000-4000-8000-000000000000", "x", "%ff", "a:b", "a%00b"])
def test_unknown_task_is_a_404(client: FlaskClient, task_uuid: str) -> None:
    answer = show(client, task_uuid)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    assert answer.json["errors"][0]["field"] == "task_uuid"


def test_list_is_newest_first_in_pages(client: FlaskClient) -> None:
    for number in range(5):
        stored(client, f"t{number}", created_ms=1_700_000_000_000 + number)
    seen, query = [], "limit=2"
    while query:
        page = client.get(f"/tasks?{query}", auth=CREDENTIALS).json
        seen.append([task["task_uuid"] for task in page["tasks"]])
        query = f"limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == [["t4", "t3"], ["t2", "t1"], ["t0"]]


def test_new_tasks_do_not_shift_the_pages(client: FlaskClient) -> None:
    for number in range(3):
        stored(client, f"t{number}", created_ms=1_700_000_000_000 + number)
    cursor = client.get("/tasks?limit=1", auth=CREDENTIALS).json["next_cursor"]
    stored(client, "t9", created_ms=1_700_000_000_009)
    assert listed(client, f"cursor={cursor}") == ["t1", "t0"]


def test_list_filters_by_status(client: FlaskClient) -> None:
    stored(client, "waits")
    stored(client, "ended", status=Status.FAILED, error_message="No audio.")
    assert listed(client, "status=failed") == ["ended"]
    assert listed(client, "status=queued") == ["waits"]
    assert listed(client, "status=success") == []
    assert sorted(listed(client)) == ["ended", "waits"]


def test_list_filters_by_fields_without_an_index(client: FlaskClient) -> None:
    for number in range(60):
        stored(client, f"t{number}", priority=1 + number % 5, created_ms=1_700_000_000_000 + number)
    stored(client, "failed-webhook", webhook=WebhookState.FAILED, hook_url="https://b.example/h", priority=2)
    assert listed(client, "priority=5&limit=200") == [f"t{number}" for number in range(59, 0, -5)]
    assert listed(client, "webhook=failed&priority=2") == ["failed-webhook"]
    assert listed(client, "webhook=failed&priority=3") == []


def test_filtered_pages_skip_nothing_and_repeat_nothing(client: FlaskClient) -> None:
    for number in range(50):
        stored(client, f"t{number:02}", priority=1 + number % 5, created_ms=1_700_000_000_000 + number)
    seen, query = [], "priority=1&limit=3"
    while query:
        page = client.get(f"/tasks?{query}", auth=CREDENTIALS).json
        seen += [task["task_uuid"] for task in page["tasks"]]
        query = f"priority=1&limit=3&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == [f"t{number:02}" for number in range(45, -1, -5)]


def test_one_request_searches_only_a_part_of_a_long_list(client: FlaskClient) -> None:
    stored(client, "oldest", priority=5, created_ms=1_600_000_000_000)
    for number in range(30):
        stored(client, f"t{number}", created_ms=1_700_000_000_000 + number)
    first = client.get("/tasks?priority=5&limit=1", auth=CREDENTIALS).json
    assert first["tasks"] == []
    cursor = first["next_cursor"]
    while cursor:
        page = client.get(f"/tasks?priority=5&limit=1&cursor={cursor}", auth=CREDENTIALS).json
        cursor = page["next_cursor"]
    assert [task["task_uuid"] for task in page["tasks"]] == ["oldest"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("created_since=2023-11-14T22:13:20.002Z", ["t3", "t2"]),
        ("created_until=2023-11-14T22:13:20.002Z", ["t1", "t0"]),
        ("created_since=2023-11-14T23:13:20.001%2B01:00&created_until=2023-11-14T22:13:20.003Z", ["t2", "t1"]),
        ("created_since=0001-01-01T00:00:00Z&created_until=9999-12-31T23:59:59Z", ["t3", "t2", "t1", "t0"]),
        ("created_since=2300-01-01T00:00:00Z", []),
        ("created_until=1970-01-01T00:00:00Z", []),
        ("created_until=2023-11-14T22:13:20.003Z&limit=1&cursor=1700000000002:t2", ["t1"]),
        ("created_until=2023-11-14T22:13:20.001Z&limit=1&cursor=1700000000003:t3", ["t0"]),
    ],
)
def test_list_filters_by_time(client: FlaskClient, query: str, expected: list[str]) -> None:
    for number in range(4):
        stored(client, f"t{number}", created_ms=1_700_000_000_000 + number)
    assert listed(client, query) == expected


def test_list_without_tasks_is_empty(client: FlaskClient) -> None:
    assert client.get("/tasks", auth=CREDENTIALS).json == {"tasks": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status"),
        ("status=", "status"),
        ("priority=6", "priority"),
        ("webhook=lost", "webhook"),
        ("created_since=yesterday", "created_since"),
        ("created_until=2023-11-14T22:13:20", "created_until"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("limit=2.5", "limit"),
        ("limit=", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%5B1", "cursor"),
        ("cursor=%ff", "cursor"),
        ("cursor=1:" + "a" * 100, "cursor"),
    ],
)
def test_invalid_query_is_a_400_that_names_the_field(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/tasks?{query}", auth=CREDENTIALS)
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json["errors"]] == [field]


@pytest.mark.parametrize("path", ["/tasks", "/tasks/one"])
def test_tasks_without_redis_are_a_503(redis_client: Redis, tmp_path: Path, path: str) -> None:
    nowhere = settings_for(redis_client.get_connection_kwargs(), tmp_path, redis_url=f"unix://{tmp_path}/nobody.sock")
    with application(nowhere) as app:
        answer = app.test_client().get(path, auth=CREDENTIALS)
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers


def test_a_misspelt_filter_is_refused_and_unknown_ones_are_ignored(client):
    refused = client.get("/tasks?statu=failed", auth=CREDENTIALS)
    assert (refused.status_code, refused.json["detail"]) == (400, "statu is not known; did you mean status?")
    assert client.get("/tasks?utm_source=x", auth=CREDENTIALS).status_code == 200
