"""POST /generate: a song's URL in, a task id out. The song itself is fetched later, by a processor."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from flask import Response, abort
from flask_openapi3.blueprint import APIBlueprint

from uvr.api.answers import answer
from uvr.api.auth import require_credentials
from uvr.api.bodies import require_json_object
from uvr.api.problems import Problem, field_problem
from uvr.api.schemas import Accepted, GenerateRequest
from uvr.api.services import services
from uvr.errors import PermanentError
from uvr.tasks import Task, WebhookState, now_ms

generate = APIBlueprint("generate", __name__)
generate.before_request(require_credentials)
generate.before_request(require_json_object)


@generate.post(
    "/generate", responses={202: Accepted, 400: Problem, 401: Problem, 413: Problem, 415: Problem, 503: Problem}
)
def submit(body: GenerateRequest) -> Response:
    """Queue a song for separation.

    Answers at once; GET /tasks/{task_uuid} tells how far it is, and hook_url is told how it ended.
    """
    _check_url("audio", body.audio)
    if body.hook_url:
        _check_url("hook_url", body.hook_url)
    task = Task(
        task_uuid=str(uuid.uuid4()),
        audio=body.audio,
        priority=body.priority or services().settings.default_priority,
        created_ms=now_ms(),
        hook_url=body.hook_url,
        output_format=body.output_format,
        webhook=WebhookState.PENDING if body.hook_url else WebhookState.NONE,
    )
    services().store.submit(task)
    accepted = Accepted(task_uuid=task.task_uuid, priority=task.priority)
    return answer(accepted, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{task.task_uuid}"})


def _check_url(field: str, url: str) -> None:
    try:
        services().guard.check(url, field)
    except PermanentError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, field, error.message))
