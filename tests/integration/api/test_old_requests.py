"""Requests of clients that do not know `model`, `stems` and `metadata` get the same bytes as ever."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, services_of
from uvr.models.announcements import ModelAnnouncements, RunnableModel
from uvr.tasks.model import Task

JSON = b'{"audio": "https://songs.example.com/a.mp3", "hook_url": "https://hooks.example.com/h", "priority": 5}'

ACCEPTED = '{"message":"Task has been queued for processing","status":"queued","task_uuid":"%s","priority":%d}'

KEY_NAME = "effa1a20ae45c9031acf0207604ec1e6f883fbe4b7bf72df2696820304ce2d92"
KEY_FINGERPRINT = "ed0aa30817e81e38cab719dd70943f5ccb1f4a6a0c31838a9bef14e770bc29bc"

DETAILS = (
    '{"task_uuid":"old","status":"success","priority":5,"progress":1.0,"attempt":1,"owner":"tester",'
    '"created_at":"2023-11-14T22:13:20.000Z","started_at":null,"finished_at":"2023-11-14T22:13:21.000Z",'
    '"audio":"https://songs.example.com/a.mp3","error_message":null,"position":null,"eta_s":null,'
    '"hook_url":"https://hooks.example.com/h","output_format":"wav","vocals":null,"instrumental":null,"stems":{},'
    '"stems_deleted_at":"2023-11-14T22:13:22.000Z","facts":{"model":"UVR-MDX-NET-Inst_HQ_4","gain":1.0},'
    '"request_id":"r1","node":null,"lost_with":null,"webhook":{"state":"none","tries":[]}}'
)

SUMMARY = (
    '{"task_uuid":"old","status":"success","priority":5,"progress":1.0,"attempt":1,"owner":"tester",'
    '"created_at":"2023-11-14T22:13:20.000Z","started_at":null,"finished_at":"2023-11-14T22:13:21.000Z",'
    '"audio":"https://songs.example.com/a.mp3","error_message":null}'
)


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"models_offered": "*", "min_free_bytes": 0}


@pytest.fixture(autouse=True)
def _announced(redis_client: Redis) -> None:
    models = [RunnableModel("UVR-MDX-NET-Inst_HQ_4", ("vocals", "instrumental")), RunnableModel("ours")]
    ModelAnnouncements(redis_client, "uvr_tasks").announce("processor:gone:1", models)


def test_json_is_accepted_as_ever(client: FlaskClient, redis_client: Redis) -> None:
    answer = client.post("/generate", data=JSON, content_type="application/json", auth=CREDENTIALS)
    assert answer.status_code == 202
    task_uuid = answer.json["task_uuid"]
    assert answer.text == ACCEPTED % (task_uuid, 5)
    kept = redis_client.hgetall(f"uvr_tasks:task:{task_uuid}")
    assert not {"models", "preset", "wanted_stems", "metadata", "batch"} & set(kept)


def test_a_form_is_accepted_as_ever(client: FlaskClient) -> None:
    form = {"audio": (BytesIO(b"a song"), "song.wav"), "priority": "2"}
    answer = client.post("/generate", data=form, auth=CREDENTIALS)
    assert (answer.status_code, answer.text) == (202, ACCEPTED % (answer.json["task_uuid"], 2))


def test_a_repeated_request_is_answered_as_ever(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "mine"}
    first, again = (
        client.post("/generate", data=JSON, content_type="application/json", auth=CREDENTIALS, headers=key)
        for _ in range(2)
    )
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.text == first.text == ACCEPTED % (first.json["task_uuid"], 5)


def test_an_idempotency_key_of_an_older_version_still_counts(client: FlaskClient, redis_client: Redis) -> None:
    """The name and the fingerprint of the key are those that the version without the new fields has written."""
    headers = {"Idempotency-Key": "mine"}
    client.post("/generate", data=JSON, content_type="application/json", auth=CREDENTIALS, headers=headers)
    [name] = redis_client.keys("uvr_tasks:asked:*")
    assert name == f"uvr_tasks:asked:{KEY_NAME}"
    assert KEY_FINGERPRINT in str(redis_client.hgetall(name))


def test_tasks_are_shown_as_ever(client: FlaskClient) -> None:
    services = services_of(client.application)
    old = Task.from_record(
        {
            "task_uuid": "old",
            "audio": "https://songs.example.com/a.mp3",
            "priority": "5",
            "created_ms": "1700000000000",
            "finished_ms": "1700000001000",
            "status": "success",
            "owner": "tester",
            "request_id": "r1",
            "hook_url": "https://hooks.example.com/h",
            "progress": "1.0",
            "attempt": "1",
            "stems": '{"vocals": "old_vocals.wav"}',
            "stems_deleted_ms": "1700000002000",
            "facts": '{"model": "UVR-MDX-NET-Inst_HQ_4", "gain": 1.0}',
        }
    )
    assert old is not None
    assert services.store.submit(old)
    assert client.get("/tasks/old", auth=CREDENTIALS).text == DETAILS
    assert client.get("/tasks", auth=CREDENTIALS).text == f'{{"tasks":[{SUMMARY}],"next_cursor":null}}'
