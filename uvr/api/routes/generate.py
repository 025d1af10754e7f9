"""POST /generate: takes the URL of a song or the song itself, and returns the id of a new task.

A processor fetches the song of a URL later. An uploaded song is stored before its task is queued, so the task always
has its song; a request that fails leaves nothing of it behind.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Response, abort, g, request
from flask_openapi3.models.request_body import RequestBody
from flask_openapi3.utils import parse_body, parse_form
from pydantic import ValidationError
from redis import ResponseError

from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.idempotency import once
from uvr.api.json_body import require_json_object
from uvr.api.multipart import FORM_TYPE, SentFile, received_form
from uvr.api.problems import Problem, bad_request, field_errors, field_problem, problem
from uvr.api.responses import json_response
from uvr.api.schemas.requests import GenerateForm, GenerateHeader, GenerateRequest
from uvr.api.schemas.responses import Accepted
from uvr.api.services import services
from uvr.api.unknown_fields import UnknownFields
from uvr.errors import PermanentError, RepeatedRequestError, TransientError, UvrError
from uvr.models.offers import Choice
from uvr.storage.uploads import part_file
from uvr.tasks.model import Task, WebhookState

Body = TypeVar("Body", bound=GenerateRequest)

generate = private_blueprint("generate")


@generate.before_request
def require_json_or_form() -> None:
    """Refuse other bodies; a form is read later, by the endpoint."""
    if request.mimetype != FORM_TYPE:
        require_json_object()


@generate.post("/generate", responses={202: Accepted, 400: Problem, 409: Problem, 413: Problem, 415: Problem})
def submit(header: GenerateHeader) -> Response:
    """Queue a song for separation.

    Responds at once. GET /tasks/{task_uuid} shows the progress, and hook_url receives a webhook when the task ends.
    """
    try:
        submit_song = _submit_file if request.mimetype == FORM_TYPE else _submit_url
        task = submit_song(header.idempotency_key)
    except RepeatedRequestError as earlier:
        if not earlier.asks_for_the_same:
            abort(problem(HTTPStatus.CONFLICT, earlier.message))
        # A preset may be another model by now; the response is that of the first request.
        first = services().store.get(earlier.task_uuid)
        return _accepted(earlier.task_uuid, earlier.priority, {"Idempotency-Replayed": "true"}, first)
    return _accepted(task.task_uuid, task.priority, {}, task)


def _submit_url(key: str) -> Task:
    body = _validated(GenerateRequest, g.body)
    _check_url("audio", body.audio)
    _check_url("hook_url", body.hook_url)
    task = _task(str(uuid.uuid4()), body, body.audio)
    services().store.submit(task, once(task.owner, key, body, body.audio))
    return task


def _submit_file(key: str) -> Task:
    task_uuid, settings = str(uuid.uuid4()), services().settings
    path, max_bytes = part_file(settings, task_uuid), settings.max_audio_bytes
    services().uploads.require_allowance(current_user().name, request.content_length or 0)
    with (
        services().upload_slots.take(current_user().name),
        received_form(path, max_bytes=max_bytes, require_room=services().uploads.require_room) as form,
    ):
        body = _validated(GenerateForm, {**form.texts, **form.files})
        _check_url("hook_url", body.hook_url)
        song: SentFile = body.audio
        task = _task(task_uuid, body, song.name or "upload")
        try:
            upload = services().uploads.store(song.path, task_uuid, current_user().name)
        except PermanentError as refusal:  # of the storage; the request is not at fault
            raise TransientError(f"The service cannot store uploads at the moment. {refusal.message}") from refusal
    task = replace(task, upload=upload.key)
    try:
        services().store.submit(task, once(task.owner, key, body, f"sha256:{song.sha256}"))
    except (UvrError, ResponseError):
        # After any other Redis error the task may have been queued nevertheless; housekeeping finds out.
        upload.withdraw()
        raise
    return task


def _task(task_uuid: str, body: GenerateRequest, audio: str) -> Task:
    """The task of a request. Ends it with a 400 if its models or stems are not offered."""
    choice, wanted_stems = _chosen(body)
    return Task(
        task_uuid=task_uuid,
        audio=audio,
        priority=body.priority or services().settings.default_priority,
        created_ms=0,  # set by the queue
        owner=current_user().name,
        request_id=g.request_id,
        hook_url=body.hook_url,
        models=choice.models,
        preset=choice.preset,
        wanted_stems=wanted_stems,
        metadata=body.metadata,
        callback_events=list(body.callback_events),
        output_format=body.output_format,
        webhook=WebhookState.PENDING if body.hook_url else WebhookState.NONE,
    )


def _chosen(body: GenerateRequest) -> tuple[Choice, list[str]]:
    """The models and stems of a request. Nothing is read for one that leaves both to the service."""
    if not (body.model or body.stems):
        return Choice(), []
    offers, field = services().model_offers.now(), "model"
    try:
        choice = offers.choose(body.model)
        field = "stems"
        return choice, offers.choose_stems(body.stems, choice.models)
    except PermanentError as refusal:
        abort(field_problem(HTTPStatus.BAD_REQUEST, field, f"{field}: {refusal.message}."))


def _accepted(task_uuid: str, priority: int, headers: dict[str, str], task: Task | None) -> Response:
    accepted = Accepted(
        task_uuid=task_uuid,
        priority=priority,
        model=task.chosen_model if task else None,
        preset=task.preset if task else "",
        warnings=g.warnings,
    )
    return json_response(accepted, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{task_uuid}", **headers})


def _validated(model: type[Body], values: dict[str, Any]) -> Body:
    """The request as a `model`, with warnings about ignored fields in `g.warnings`. Ends it with a 400 if invalid."""
    unknown = UnknownFields(model, values)
    try:
        body = model.model_validate(values)
    except ValidationError as error:
        # A missing field with a near miss is reported once, by the near miss.
        errors = [fault for fault in field_errors(error) if fault.field not in unknown.near_misses.values()]
        abort(bad_request([*errors, *unknown.errors]))
    if unknown.errors:
        abort(bad_request(unknown.errors))
    g.warnings = unknown.warnings
    return body


def _check_url(field: str, url: str) -> None:
    """End the request with a 400 if `url` must not be requested; "" is a field that was left out."""
    try:
        if url:
            services().guard.check(url, field)
    except PermanentError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, field, error.message))


# flask-openapi3 can declare only one kind of body for an endpoint; this adds both to the OpenAPI document.
_content: dict[str, Any] = {}
for _media_types, _schemas in (parse_body(GenerateRequest), parse_form(GenerateForm)):
    _content.update(_media_types)
    generate.components_schemas.update(_schemas)
generate.paths["/generate"].post.requestBody = RequestBody(content=_content, required=True)
