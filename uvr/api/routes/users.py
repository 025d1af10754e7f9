"""What belongs to a user apart from tasks: the secret that signs the webhooks of the user's tasks."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Response

from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.auth.client_address import client_address
from uvr.api.responses import json_response
from uvr.api.schemas.responses import NewWebhookSecret, WebhookSecret, webhook_secret
from uvr.api.services import services

log = structlog.get_logger()

users = private_blueprint("users")


@users.get("/users/me/webhook-secret", responses={200: WebhookSecret})
def show_webhook_secret() -> Response:
    """Show whether you have a webhook secret of your own, and since when. The secret itself is never shown again."""
    return json_response(webhook_secret(services().user_secrets.valid(current_user().name)))


@users.post("/users/me/webhook-secret", responses={201: NewWebhookSecret})
def make_webhook_secret() -> Response:
    """Make a webhook secret of your own, or replace it. The answer is the only place where you see it.

    It signs all webhooks of your tasks from now on, in place of the secret of the service. A secret that it replaces
    signs as well for another day: webhooks then carry a signature of each, separated by a space.
    """
    name = current_user().name
    made = services().user_secrets.make(name)
    log.info("webhook_secret.made", user=name, fingerprint=made.fingerprint, address=client_address())
    info = webhook_secret(services().user_secrets.valid(name))
    return json_response(NewWebhookSecret(secret=made.text, **dict(info)), HTTPStatus.CREATED)


@users.delete("/users/me/webhook-secret", responses={204: None})
def remove_webhook_secret() -> Response:
    """Remove your webhook secret and those that it replaced, at once. The secret of the service signs again.

    It is no error if you have none.
    """
    name = current_user().name
    services().user_secrets.remove(name)
    log.info("webhook_secret.removed", user=name, address=client_address())
    return Response(status=HTTPStatus.NO_CONTENT)
