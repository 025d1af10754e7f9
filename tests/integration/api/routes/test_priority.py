"""PATCH /tasks/{task_uuid}: another priority for a task that waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, credentials, htpasswd, post_generate, services_of, settings_for
from tests.support.leases import begin

SONG = "https://songs.example.com/a.mp3"


def change(client: FlaskClient, task_uuid: str, body: Any, **options: Any) -> Any:
    return client.patch(f"/tasks/{task_uuid}", json=body, **{"auth": CREDENTIALS, **options})


def submitted(client: FlaskClient, priority: int = 3) -> str:
    return str(post_generate(client, {"audio": SONG, "priority": priority}).json["task_uuid"])


def test_a_waiting_task_goes_first_with_a_higher_priority(client: FlaskClient) -> None:
    first, second = submitted(client), submitted(client)
    answer = change(client, second, {"priority": 5})
    assert (answer.status_code, answer.json["priority"], answer.json["position"]) == (200, 5, 0)
    queue = services_of(client.application).broker.tasks
    lease = begin(queue)
    assert (lease.id, lease.priority) == (second, 5)
    assert begin(queue).id == first


def test_a_task_that_no_longer_waits_is_a_409_unless_it_has_that_priority(client: FlaskClient) -> None:
    task_uuid = submitted(client)
    begin(services_of(client.application).broker.tasks)
    answer = change(client, task_uuid, {"priority": 5})
    assert (answer.status_code, answer.content_type) == (409, "application/problem+json")
    assert "no longer waits" in answer.json["detail"]
    assert change(client, task_uuid, {"priority": 3}).status_code == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "priority is required."),
        ({"priority": 6}, "priority must be less than or equal to 5."),
        ({"priority": "5"}, "priority must be a valid integer."),
        ({"priority": None}, "priority must be a valid integer."),
        ({"priorty": 5}, "did you mean priority?"),
        ([1], "body must be a JSON object, not a list."),
    ],
)
def test_other_bodies_are_a_400(client: FlaskClient, body: Any, says: str) -> None:
    answer = change(client, submitted(client), body)
    assert answer.status_code == 400
    assert says in answer.json["detail"]


def test_a_form_is_a_415_and_an_unknown_task_a_404(client: FlaskClient) -> None:
    task_uuid = client.post("/generate", json={"audio": SONG}, auth=CREDENTIALS).json["task_uuid"]
    answer = client.patch(f"/tasks/{task_uuid}", data={"priority": 5}, auth=CREDENTIALS)
    assert (answer.status_code, answer.json["detail"]) == (415, "Content-Type must be application/json.")
    assert change(client, "none", {"priority": 5}).status_code == 404


def test_only_the_owner_and_the_admin_may_change_it_and_no_other_site(redis_client: Redis, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(htpasswd("anna", "bert"))
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, basic_auth_users_file=tmp_path / "users")
    with application(settings) as app, app.test_client() as client:
        task_uuid = client.post("/generate", json={"audio": SONG}, auth=credentials("anna")).json["task_uuid"]
        statuses = [
            change(client, task_uuid, {"priority": 5}, auth=credentials("bert")).status_code,
            change(client, task_uuid, {"priority": 5}, headers={"Sec-Fetch-Site": "cross-site"}).status_code,
            change(client, task_uuid, {"priority": 5}, auth=credentials("anna")).status_code,
            change(client, task_uuid, {"priority": 1}).status_code,
        ]
    assert statuses == [404, 403, 200, 200]
