"""POST /tasks/{task_uuid}/webhook: sends the webhook of an ended task again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, settings_for
from tests.support.http_server import Answer, HttpServer
from tests.support.waiting import eventually
from tests.support.workshop import Workshop, working
from uvr.tasks.model import Status, Task, WebhookState

HOOK = "https://receiver.example/hook"
TRIED = {"webhook_id": "a.failed", "at": "2023-11-14T22:13:20Z", "status_code": 503, "outcome": "retry"}


def ended(workshop: Workshop, hook_url: str = HOOK, **fields: Any) -> None:
    """Store a task that has ended and whose webhook has failed for good."""
    facts = {
        "status": Status.FAILED,
        "error_message": "It was not audio.",
        "webhook": WebhookState.FAILED,
        "webhook_step": 8,
        "webhook_tries": [TRIED] * 8,
        **fields,
    }
    task = Task("a", "https://songs.example/a.mp3", 3, 1_700_000_000_000, hook_url=hook_url, **facts)
    workshop.broker.tasks.enqueue("a", 3, task.to_record())
    lease = workshop.broker.tasks.claim()
    assert lease
    workshop.broker.tasks.finish(lease)


def redeliver(client: FlaskClient, task_uuid: str = "a") -> Any:
    return client.post(f"/tasks/{task_uuid}/webhook", auth=CREDENTIALS)


def test_the_webhook_is_sent_again_with_the_same_id(
    workshop: Workshop, client: FlaskClient, receiver: HttpServer
) -> None:
    ended(workshop, receiver.answer("/hook", Answer(204)))
    answer = redeliver(client)
    assert answer.status_code == 202
    assert answer.headers["Location"] == "/tasks/a"
    assert answer.json == {
        "message": "Webhook has been queued for delivery",
        "task_uuid": "a",
        "webhook_id": "a.failed",
    }
    assert client.get("/tasks/a", auth=CREDENTIALS).json["webhook"]["state"] == "pending"
    with working(workshop):
        eventually(lambda: workshop.task("a").webhook == WebhookState.DELIVERED)
    [request] = receiver.requests
    assert request.headers["webhook-id"] == "a.failed"
    assert json.loads(request.body)["error_message"] == "It was not audio."
    assert [tried["status_code"] for tried in workshop.task("a").webhook_tries] == [503] * 8 + [204]


def test_the_retry_schedule_starts_from_the_beginning(
    workshop: Workshop, client: FlaskClient, receiver: HttpServer
) -> None:
    ended(workshop, receiver.answer("/hook", Answer(503)))
    redeliver(client)
    with working(workshop):
        eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
    task = workshop.task("a")
    assert (task.webhook, task.webhook_step, len(task.webhook_tries)) == (WebhookState.PENDING, 1, 9)


def test_links_to_deleted_stems_are_not_sent(workshop: Workshop, client: FlaskClient) -> None:
    ended(workshop, status=Status.SUCCESS, stems_deleted_ms=1)
    answer = redeliver(client)
    assert answer.status_code == 409
    assert "stems of this task have been deleted" in answer.json["detail"]


def test_a_webhook_that_waits_for_a_retry_is_sent_at_once(
    workshop: Workshop, client: FlaskClient, receiver: HttpServer
) -> None:
    ended(workshop, receiver.answer("/hook", Answer(503), Answer(503), Answer(204)))
    redeliver(client)
    with working(workshop):
        for tries in (1, 2):
            eventually(lambda tries=tries: len(workshop.task("a").webhook_tries) == 8 + tries)
            eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
            assert redeliver(client).status_code == 202
        eventually(lambda: workshop.task("a").webhook == WebhookState.DELIVERED)
    assert len(receiver.requests) == 3


def test_a_webhook_that_is_on_its_way_is_not_sent_twice(workshop: Workshop, client: FlaskClient) -> None:
    ended(workshop)
    assert redeliver(client).status_code == 202
    assert redeliver(client).status_code == 409
    assert workshop.broker.webhooks.claim()
    answer = redeliver(client)
    assert answer.status_code == 409
    assert "on its way" in answer.json["detail"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hook_url": ""}, "hook_url"),
        ({"status": Status.QUEUED}, "queued"),
        ({"status": Status.UPLOADING}, "uploading"),
    ],
)
def test_a_task_without_a_webhook_to_send_is_a_409_that_says_why(
    workshop: Workshop, client: FlaskClient, fields: dict[str, Any], reason: str
) -> None:
    ended(workshop, **fields)
    answer = redeliver(client)
    assert answer.status_code == 409
    assert answer.content_type == "application/problem+json"
    assert reason in answer.json["detail"]
    assert workshop.broker.webhooks.sizes().waiting == 0


def test_an_unknown_task_is_a_404(client: FlaskClient) -> None:
    assert redeliver(client, "unknown").status_code == 404


def test_credentials_are_required(workshop: Workshop, client: FlaskClient) -> None:
    ended(workshop)
    assert client.post("/tasks/a/webhook").status_code == 401
    assert workshop.broker.webhooks.sizes().waiting == 0


def test_without_redis_it_is_a_503(redis_client: Redis, tmp_path: Path) -> None:
    nowhere = settings_for(redis_client.get_connection_kwargs(), tmp_path, redis_url=f"unix://{tmp_path}/nobody.sock")
    with application(nowhere) as app:
        assert redeliver(app.test_client()).status_code == 503
