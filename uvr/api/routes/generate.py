"""POST /generate: a song's URL or the song itself in, a task id out.

The song of a URL is fetched later, by a processor. One that is sent along is stored before its task is queued, so that
a task always has its song; a request that fails leaves nothing of it behind.
"""

from __future__ import annotations

import uuid
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
from uvr.api.problems import Problem, field_problem, fields_problem, problem, validation_faults
from uvr.api.responses import answer
from uvr.api.schemas.requests import GenerateForm, GenerateHeader, GenerateRequest
from uvr.api.schemas.responses import Accepted
from uvr.api.services import services
from uvr.api.unknown_fields import UnknownFields
from uvr.errors import DuplicateRequestError, PermanentError, UvrError
from uvr.storage.uploads import part_file
from uvr.tasks.model import Task, WebhookState
from uvr.timestamps import now_ms

Body = TypeVar("Body", bound=GenerateRequest)

generate = private_blueprint("generate")


@generate.before_request
def _require_song() -> None:
    if request.mimetype != FORM_TYPE:
        require_json_object()


@generate.post("/generate", responses={202: Accepted, 400: Problem, 409: Problem, 413: Problem, 415: Problem})
def submit(header: GenerateHeader) -> Response:
    """Queue a song for separation.

    Answers at once; GET /tasks/{task_uuid} tells how far it is, and hook_url is told how it ended.
    """
    try:
        take = _take_in_file if request.mimetype == FORM_TYPE else _take_in_url
        task = take(header.idempotency_key)
    except DuplicateRequestError as earlier:
        if not earlier.is_same_request:
            abort(problem(HTTPStatus.CONFLICT, earlier.message))
        return _accepted(earlier.task_uuid, earlier.priority, {"Idempotency-Replayed": "true"})
    return _accepted(task.task_uuid, task.priority, {})


def _take_in_url(key: str) -> Task:
    body = _checked(GenerateRequest, g.body)
    _check_url("audio", body.audio)
    _check_hook(body)
    task = _task(str(uuid.uuid4()), body, body.audio)
    services().store.submit(task, once(task.owner, key, body, body.audio))
    return task


def _take_in_file(key: str) -> Task:
    task_uuid, settings = str(uuid.uuid4()), services().settings
    path, max_bytes = part_file(settings, task_uuid), settings.max_audio_bytes
    with received_form(path, max_bytes=max_bytes, min_free_bytes=settings.min_free_bytes) as form:
        body = _checked(GenerateForm, {**form.texts, **form.files})
        _check_hook(body)
        song: SentFile = body.audio
        upload = services().uploads.store(song.path, task_uuid)
    task = _task(task_uuid, body, song.name or "upload", upload.key)
    try:
        services().store.submit(task, once(task.owner, key, body, f"sha256:{song.sha256}"))
    except (UvrError, ResponseError):
        # Any other trouble with Redis may mean that the task is queued after all; the housekeeping will see.
        upload.withdraw()
        raise
    return task


def _task(task_uuid: str, body: GenerateRequest, audio: str, upload: str = "") -> Task:
    return Task(
        task_uuid=task_uuid,
        audio=audio,
        priority=body.priority or services().settings.default_priority,
        created_ms=now_ms(),
        owner=current_user().name,
        request_id=g.request_id,
        upload=upload,
        hook_url=body.hook_url,
        callback_events=list(body.callback_events),
        output_format=body.output_format,
        webhook=WebhookState.PENDING if body.hook_url else WebhookState.NONE,
    )


def _accepted(task_uuid: str, priority: int, headers: dict[str, str]) -> Response:
    accepted = Accepted(task_uuid=task_uuid, priority=priority, warnings=g.warnings)
    return answer(accepted, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{task_uuid}", **headers})


def _checked(model: type[Body], values: dict[str, Any]) -> Body:
    """The body; fields that were passed over are in `g.warnings` from then on."""
    unknown = UnknownFields(model, values)
    try:
        body = model.model_validate(values)
    except ValidationError as error:
        faults = [fault for fault in validation_faults(error) if fault.field not in unknown.meant.values()]
        abort(fields_problem([*faults, *unknown.faults]))
    if unknown.faults:
        abort(fields_problem(unknown.faults))
    g.warnings = unknown.warnings
    return body


def _check_hook(body: GenerateRequest) -> None:
    if body.hook_url:
        _check_url("hook_url", body.hook_url)


def _check_url(field: str, url: str) -> None:
    try:
        services().guard.check(url, field)
    except PermanentError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, field, error.message))


def _document_bodies() -> None:
    """Both bodies at one address, for which flask-openapi3 has no words of its own."""
    content = {}
    for media_types, schemas in (parse_body(GenerateRequest), parse_form(GenerateForm)):
        content.update(media_types)
        generate.components_schemas.update(schemas)
    generate.paths["/generate"].post.requestBody = RequestBody(content=content, required=True)


_document_bodies()
