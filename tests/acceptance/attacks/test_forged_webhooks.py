"""A user who knows the webhook secret of the service cannot sign webhooks to a receiver whose user has a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.api import application, credentials, htpasswd, settings_for
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.waiting import PROMPT_S, eventually
from tests.support.workshop import Workshop, open_workshop, working
from uvr.tasks.model import WebhookState

OF_THE_SERVICE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATH = "/users/me/webhook-secret"


@pytest.fixture
def workshop(redis_client: Redis, tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(redis_client, tmp_path, webhook_secret=OF_THE_SERVICE) as workshop:
        yield workshop


@pytest.fixture
def client(redis_client: Redis, tmp_path: Path) -> Iterator[FlaskClient]:
    users = tmp_path / "users.htpasswd"
    users.write_text(htpasswd("anna", "mallory"))
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, basic_auth_users_file=users)
    with application(settings) as app, app.test_client() as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    with http_server() as server:
        yield server


def delivered(workshop: Workshop, receiver: HttpServer, task_uuid: str, owner: str) -> Any:
    """The webhook about a task of `owner` that has failed, as the receiver got it."""
    workshop.queue_webhook(task_uuid, owner, receiver.answer("/hook", Answer(204)))
    with working(workshop):
        eventually(lambda: workshop.task(task_uuid).webhook == WebhookState.DELIVERED, timeout_s=PROMPT_S)
    return receiver.requests[-1]


def is_genuine(secret: str, body: bytes, headers: Any) -> bool:
    try:
        return bool(Webhook(secret).verify(body, dict(headers)) == json.loads(body))
    except WebhookVerificationError:
        return False


def forged(secret: str) -> tuple[bytes, dict[str, str]]:
    """What the attacker posts to the receiver: the links lead to stems of the attacker."""
    body = b'{"task_uuid": "a", "status": "success", "vocals": "https://evil.example/"}'
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("a.success", now, body.decode())
    headers = {"webhook-id": "a.success", "webhook-timestamp": str(int(now.timestamp()))}
    return body, {**headers, "webhook-signature": signature}


def test_a_secret_of_your_own_cannot_be_forged_by_other_users(
    workshop: Workshop, client: FlaskClient, receiver: HttpServer
) -> None:
    secret = client.post(PATH, auth=credentials("anna")).json["secret"]
    genuine = delivered(workshop, receiver, "a", "anna")
    assert is_genuine(secret, genuine.body, genuine.headers)
    assert is_genuine(OF_THE_SERVICE, genuine.body, genuine.headers), "for a day, until the receiver has the new one"
    for known_to_mallory in (OF_THE_SERVICE, client.post(PATH, auth=credentials("mallory")).json["secret"]):
        assert not is_genuine(secret, *forged(known_to_mallory))


def test_both_secrets_verify_for_a_day_after_a_rotation(
    workshop: Workshop, client: FlaskClient, receiver: HttpServer
) -> None:
    old = client.post(PATH, auth=credentials("anna")).json["secret"]
    new = client.post(PATH, auth=credentials("anna")).json["secret"]
    request = delivered(workshop, receiver, "a", "anna")
    assert len(request.headers["webhook-signature"].split(" ")) == 3  # the third is of the service, for the first day
    assert is_genuine(old, request.body, request.headers)
    assert is_genuine(new, request.body, request.headers)


def test_without_one_the_secret_of_the_service_signs_as_before(
    workshop: Workshop, client: FlaskClient, receiver: HttpServer
) -> None:
    client.post(PATH, auth=credentials("mallory"))
    client.post(PATH, auth=credentials("anna"))
    client.delete(PATH, auth=credentials("anna"))
    for number, owner in enumerate(["anna", "admin", ""]):
        request = delivered(workshop, receiver, f"task-{number}", owner)
        sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        signature = Webhook(OF_THE_SERVICE).sign(request.headers["webhook-id"], sent_at, request.body.decode())
        assert request.headers["webhook-signature"] == signature
