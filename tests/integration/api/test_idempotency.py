"""Idempotency-Key: a request that is sent again creates no second task, not even concurrently."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, services_of, settings_for, task_keys

SONG = "https://songs.example.com/a.mp3"
KEY = "3f0c2f8e-my-order-17"


def post(client: FlaskClient, key: str | None = KEY, **body: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/generate", json={"audio": SONG, **body}, headers=headers, auth=CREDENTIALS)


def test_the_same_request_gets_the_same_response(client: FlaskClient, redis_client: Redis) -> None:
    first, again = post(client, priority=5), post(client, priority=5)
    assert (first.status_code, first.json, first.headers["Location"]) == (202, again.json, again.headers["Location"])
    assert again.status_code == 202
    assert (first.headers.get("Idempotency-Replayed"), again.headers.get("Idempotency-Replayed")) == (None, "true")
    assert redis_client.zcard("uvr_tasks") == redis_client.zcard("uvr_tasks:tasks") == 1


def test_defaults_and_unknown_fields_make_no_difference(client: FlaskClient) -> None:
    first = post(client)
    again = post(client, output_format="wav", some_newer_field=1)
    assert again.json["task_uuid"] == first.json["task_uuid"]


@pytest.mark.parametrize(
    "body", [{"priority": 1}, {"audio": SONG + "?2"}, {"output_format": "mp3"}, {"hook_url": "https://example.com/h"}]
)
def test_another_request_under_the_key_is_a_409(client: FlaskClient, redis_client: Redis, body: dict[str, Any]) -> None:
    post(client)
    refused = post(client, **body)
    assert refused.status_code == 409
    assert "Idempotency-Key" in refused.json["detail"]
    assert redis_client.zcard("uvr_tasks") == 1


def test_without_a_key_every_request_counts(client: FlaskClient) -> None:
    assert post(client, None).json != post(client, None).json


def test_a_key_is_remembered_for_a_day_even_after_its_task_has_ended(client: FlaskClient, redis_client: Redis) -> None:
    first = post(client)
    [name] = redis_client.keys("uvr_tasks:asked:*")
    assert 86_390_000 < redis_client.pttl(name) <= 86_400_000
    assert KEY not in name
    redis_client.hset(f"uvr_tasks:task:{first.json['task_uuid']}", "status", "success")
    assert post(client).json == first.json
    redis_client.delete(name)
    assert post(client).json != first.json


def test_deleting_the_task_frees_its_key(client: FlaskClient) -> None:
    first = post(client)
    assert services_of(client.application).broker.tasks.forget(first.json["task_uuid"], [], [], on_request=True)
    again = post(client)
    assert again.status_code == 202
    assert again.json != first.json
    assert "Idempotency-Replayed" not in again.headers


def test_a_request_that_was_refused_leaves_its_key_free(client: FlaskClient) -> None:
    assert post(client, priority=9).status_code == 400
    assert post(client).status_code == 202


@pytest.mark.parametrize("key", ["", "a" * 256, "naïve", "tab\there"])
def test_an_invalid_key_is_a_400(client: FlaskClient, redis_client: Redis, key: str) -> None:
    refused = post(client, key)
    assert refused.status_code == 400
    assert [fault["field"] for fault in refused.json["errors"]] == ["Idempotency-Key"]
    assert task_keys(redis_client) == []


def test_concurrent_requests_with_one_key_create_one_task(client: FlaskClient, redis_client: Redis) -> None:
    def send(_: int) -> Any:
        with client.application.test_client() as another:
            return post(another)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(40)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json["task_uuid"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert redis_client.zcard("uvr_tasks") == 1


def test_the_limit_of_waiting_tasks_does_not_hide_the_first_response(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, max_waiting_tasks_per_user=1)
    with application(settings) as app, app.test_client() as client:
        first = post(client)
        assert post(client, None).status_code == 429
        assert post(client).json == first.json
