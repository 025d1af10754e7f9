"""POST /generate: what is accepted, what is refused and how, and what happens while Redis fails."""

from __future__ import annotations

import json
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from structlog.testing import capture_logs

from tests.support.api import CREDENTIALS, application, post_generate, services_of, settings_for, task_keys
from tests.support.redis_server import redis_server
from uvr.tasks.model import Status, WebhookState

SONG = "https://songs.example.com/a.mp3"


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"default_priority": 4}


def test_task_is_accepted_with_its_id_and_location(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "hook_url": "https://hooks.example.com/h", "priority": 5})
    task_uuid = answer.json["task_uuid"]
    assert answer.status_code == 202
    assert answer.json == {
        "message": "Task has been queued for processing",
        "status": "queued",
        "task_uuid": str(uuid.UUID(task_uuid)),
        "priority": 5,
    }
    assert answer.headers["Location"] == f"/tasks/{task_uuid}"
    assert client.get(answer.headers["Location"], auth=CREDENTIALS).status_code == 200


def test_accepted_task_waits_in_the_queue_with_its_record(client: FlaskClient, redis_client: Redis) -> None:
    task_uuid = post_generate(client, {"audio": SONG, "hook_url": "https://hooks.example.com/h"}).json["task_uuid"]
    task = services_of(client.application).store.get(task_uuid)
    assert redis_client.zcard("uvr_tasks") == 1
    assert task is not None
    assert (task.audio, task.hook_url, task.status) == (SONG, "https://hooks.example.com/h", Status.QUEUED)
    assert (task.priority, task.webhook) == (4, WebhookState.PENDING)
    assert task.created_ms > 0


@pytest.mark.parametrize("field", ["audio", "hook_url"])
@pytest.mark.parametrize(
    "where", ["songs.example", "songs.example:99999", "127.0.0.1", "*.example", "[::1", "a b.example"]
)
def test_password_in_a_url_is_refused_and_appears_nowhere(client: FlaskClient, field: str, where: str) -> None:
    with capture_logs() as logs:
        answer = post_generate(client, {"audio": SONG, field: f"https://user:s3cret@{where}/a.mp3"})
    assert answer.status_code == 400
    assert "s3cret" not in answer.get_data(as_text=True) + str(logs)


def test_task_has_the_requested_format(client: FlaskClient) -> None:
    asked = post_generate(client, {"audio": SONG, "output_format": "flac"}).headers["Location"]
    unasked = post_generate(client, {"audio": SONG}).headers["Location"]
    formats = [client.get(task, auth=CREDENTIALS).json["output_format"] for task in (asked, unasked)]
    assert formats == ["flac", "wav"]


def test_hook_url_may_be_left_out(client: FlaskClient) -> None:
    task_uuid = post_generate(client, {"audio": SONG}).json["task_uuid"]
    task = services_of(client.application).store.get(task_uuid)
    assert task is not None
    assert (task.hook_url, task.webhook) == ("", WebhookState.NONE)


def test_unknown_fields_are_ignored_and_named(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "some_newer_field": {"a": 1}, "priority": 2})
    assert answer.status_code == 202
    assert answer.json == {
        "message": "Task has been queued for processing",
        "status": "queued",
        "task_uuid": answer.json["task_uuid"],
        "priority": 2,
        "warnings": [
            {"field": "some_newer_field", "message": "some_newer_field is not known and was ignored."},
        ],
    }


def test_without_unknown_fields_there_are_no_warnings(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "priority": 2})
    expected = '{{"message":"Task has been queued for processing","status":"queued","task_uuid":"{}","priority":2}}'
    assert answer.text == expected.format(answer.json["task_uuid"])


@pytest.mark.parametrize(
    ("body", "field", "meant"),
    [
        ({"audio": SONG, "hookurl": "https://hooks.example.com/h"}, "hookurl", "hook_url"),
        ({"audio": SONG, "webhook_url": "https://hooks.example.com/h"}, "webhook_url", "hook_url"),
        ({"audio": SONG, "priorty": 5}, "priorty", "priority"),
        ({"audio": SONG, "outputFormat": "mp3"}, "outputFormat", "output_format"),
        ({"audio": SONG, "callback_event": []}, "callback_event", "callback_events"),
        ({"Audio": SONG}, "Audio", "audio"),
    ],
)
def test_a_near_miss_of_a_missing_field_is_refused_with_a_suggestion(
    client: FlaskClient, redis_client: Redis, body: Any, field: str, meant: str
) -> None:
    answer = post_generate(client, body)
    sentence = f"{field} is not known; did you mean {meant}?"
    assert (answer.status_code, answer.json["detail"]) == (400, sentence)
    assert answer.json["errors"] == [{"field": field, "message": sentence}]
    assert task_keys(redis_client) == []


def test_a_near_miss_is_named_together_with_other_errors(client: FlaskClient) -> None:
    detail = post_generate(client, {"hookurl": "https://hooks.example.com/h", "priority": 9}).json["detail"]
    assert detail == (
        "audio is required. priority must be less than or equal to 5. hookurl is not known; did you mean hook_url?"
    )


@pytest.mark.parametrize("name", ["Audio", "prio", "url", "format", "userId", "", "a" * 50_000])
def test_other_unknown_names_are_accepted(client: FlaskClient, name: str) -> None:
    answer = post_generate(client, {"audio": SONG, name: "x"})
    assert answer.status_code == 202
    assert [warning["field"] for warning in answer.json["warnings"]] == [
        name if 0 < len(name) < 65 else '""' if not name else "a" * 64 + "…"
    ]


def test_at_most_twenty_unknown_fields_are_named(client: FlaskClient) -> None:
    names = [f"field_{number}" for number in range(1000, 4000)]
    answer = post_generate(client, {"audio": SONG, **dict.fromkeys(names, 1)})
    assert [warning["field"] for warning in answer.json["warnings"]] == names[:20]


def test_unknown_fields_of_a_form_are_treated_like_those_of_json(client: FlaskClient, redis_client: Redis) -> None:
    def post(**texts: str) -> Any:
        form = {"audio": (BytesIO(b"a song"), "song.wav"), **texts}
        return client.post("/generate", data=form, auth=CREDENTIALS)

    refused = post(hookurl="https://hooks.example.com/h")
    assert (refused.status_code, refused.json["detail"]) == (400, "hookurl is not known; did you mean hook_url?")
    assert redis_client.zcard("uvr_tasks") == 0
    accepted = post(colour="blue")
    assert accepted.status_code == 202
    assert accepted.json["warnings"] == [{"field": "colour", "message": "colour is not known and was ignored."}]
    assert "warnings" not in post().json


def test_a_request_that_is_sent_again_gets_the_same_warnings(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "mine"}
    first, second = (post_generate(client, {"audio": SONG, "colour": "blue"}, headers=headers) for _ in range(2))
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (first.status_code, first.text) == (second.status_code, second.text)


@pytest.mark.parametrize("priority", [1, 2, 3, 4, 5])
def test_priority_counts_in_the_specified_score(client: FlaskClient, redis_client: Redis, priority: int) -> None:
    before: Any = redis_client.time()
    post_generate(client, {"audio": SONG, "priority": priority})
    after: Any = redis_client.time()
    [(_, score)] = redis_client.zrange("uvr_tasks", 0, -1, withscores=True)  # type: ignore[misc]
    assert before[0] <= score / (6 - priority) <= after[0] + 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "audio"),
        ({"audio": ""}, "audio"),
        ({"audio": None}, "audio"),
        ({"audio": 7}, "audio"),
        ({"audio": [SONG]}, "audio"),
        ({"audio": "song.mp3"}, "audio"),
        ({"audio": "file:///etc/passwd"}, "audio"),
        ({"audio": "ftp://example.com/a.mp3"}, "audio"),
        ({"audio": "javascript:alert(1)"}, "audio"),
        ({"audio": "http://"}, "audio"),
        ({"audio": "https://[::1"}, "audio"),
        ({"audio": "http://127.0.0.1/a.mp3"}, "audio"),
        ({"audio": "http://169.254.169.254/latest/meta-data"}, "audio"),
        ({"audio": "https://user:word@example.com/a.mp3"}, "audio"),
        ({"audio": "https://example.com:99999/"}, "audio"),
        ({"audio": "https://example.com/" + "a" * 8200}, "audio"),
        ({"audio": SONG, "hook_url": "gopher://example.com"}, "hook_url"),
        ({"audio": SONG, "hook_url": ""}, "hook_url"),
        ({"audio": SONG, "hook_url": None}, "hook_url"),
        ({"audio": SONG, "hook_url": {"url": SONG}}, "hook_url"),
        ({"audio": SONG, "priority": 0}, "priority"),
        ({"audio": SONG, "priority": 6}, "priority"),
        ({"audio": SONG, "priority": -1}, "priority"),
        ({"audio": SONG, "priority": 10**30}, "priority"),
        ({"audio": SONG, "priority": 2.5}, "priority"),
        ({"audio": SONG, "priority": 3.0}, "priority"),
        ({"audio": SONG, "priority": "3"}, "priority"),
        ({"audio": SONG, "priority": True}, "priority"),
        ({"audio": SONG, "priority": None}, "priority"),
        ({"audio": SONG, "priority": [3]}, "priority"),
    ],
)
def test_invalid_field_is_named_in_a_400(client: FlaskClient, redis_client: Redis, body: Any, field: str) -> None:
    answer = post_generate(client, body)
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json["errors"]] == [field]
    assert field in answer.json["detail"]
    assert task_keys(redis_client) == []


def test_all_invalid_fields_are_named_together(client: FlaskClient) -> None:
    faults = post_generate(client, {"audio": "", "hook_url": 1, "priority": 9}).json["errors"]
    assert [fault["field"] for fault in faults] == ["audio", "hook_url", "priority"]


def test_errors_are_sentences(client: FlaskClient) -> None:
    problem = post_generate(client, {"priority": 9}).json
    assert problem["detail"] == "audio is required. priority must be less than or equal to 5."


def test_problem_has_the_standard_fields_and_the_old_key(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "priority": "3"})
    sentence = "priority must be a valid integer."
    assert answer.content_type == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": sentence,
        "error": sentence,
        "errors": [{"field": "priority", "message": sentence}],
        "request_id": answer.headers["X-Request-ID"],
    }


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"audio": }',
        b"\xff\xfe",
        b'{"audio": "\\ud800"}',
        b'{"audio": "https://a.example", "priority": NaN}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"audio": "https://a.example", "priority": ' + b"1" * 5_000 + b"}",
    ],
    ids=["empty", "cut", "gap", "not-utf-8", "half-surrogate", "nan", "deep-list", "deep-object", "huge-number"],
)
def test_broken_json_is_a_400(client: FlaskClient, text: bytes) -> None:
    answer = client.post("/generate", data=text, content_type="application/json", auth=CREDENTIALS)
    assert answer.status_code == 400
    assert answer.json["error"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps({"audio": SONG}), "a string"),
        (3, "a number"),
        (True, "a boolean"),
        (None, "null"),
    ],
)
def test_json_that_is_not_an_object_is_a_400(client: FlaskClient, body: Any, kind: str) -> None:
    answer = client.post("/generate", data=json.dumps(body), content_type="application/json", auth=CREDENTIALS)
    assert answer.status_code == 400
    assert answer.json["detail"] == f"body must be a JSON object, not {kind}."
    assert answer.json["errors"][0]["field"] == "body"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_other_content_types_are_a_415(client: FlaskClient, content_type: str) -> None:
    text = json.dumps({"audio": SONG})
    answer = client.post("/generate", data=text, content_type=content_type, auth=CREDENTIALS)
    assert answer.status_code == 415
    assert answer.json["errors"][0]["field"] == "Content-Type"


def test_large_body_is_a_413(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "padding": "x" * 70_000})
    assert answer.status_code == 413
    assert answer.json["status"] == 413


def test_wrong_method_is_a_405_that_names_the_allowed_ones(client: FlaskClient) -> None:
    answer = client.get("/generate", auth=CREDENTIALS)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.json["title"] == "Method Not Allowed"


def test_redis_that_is_down_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path, appendonly="yes", appendfsync="always") as server,
        application(settings_for(server.connection_kwargs, tmp_path)) as app,
    ):
        client = app.test_client()
        assert post_generate(client, {"audio": SONG}).status_code == 202
        server.stop()
        refused = post_generate(client, {"audio": SONG})
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.content_type == "application/problem+json"
        server.start()
        assert post_generate(client, {"audio": SONG}).status_code == 202
        with Redis(**server.connection_kwargs, decode_responses=True) as redis:
            assert redis.zcard("uvr_tasks") == redis.zcard("uvr_tasks:tasks") == 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [("maxmemory", "1"), ("min-replicas-to-write", "1")],
    ids=["out-of-memory", "takes-no-writes"],
)
def test_redis_that_refuses_writes_is_a_503_with_nothing_half_done(tmp_path: Path, setting: str, value: str) -> None:
    with (
        redis_server(tmp_path) as server,
        Redis(**server.connection_kwargs, decode_responses=True) as redis,
        application(settings_for(server.connection_kwargs, tmp_path)) as app,
    ):
        redis.config_set(setting, value)
        answer = post_generate(app.test_client(), {"audio": SONG})
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert task_keys(redis) == []
