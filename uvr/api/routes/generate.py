"""POST /generate: takes the URL of a song, a list of them, or a song itself, and returns the ids of the new tasks.

A processor fetches the song of a URL later. An uploaded song is stored before its task is queued, so the task always
has its song; a request that fails leaves nothing of it behind.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from flask import Response, abort, g, request
from flask_openapi3.models.request_body import RequestBody
from flask_openapi3.utils import parse_body, parse_form
from redis import ResponseError

from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.batch import submit_batch
from uvr.api.idempotency import once
from uvr.api.json_body import require_json, validated
from uvr.api.multipart import FORM_TYPE, SentFile, received_form
from uvr.api.problems import Problem, field_problem, problem
from uvr.api.responses import json_response
from uvr.api.schemas.requests import GenerateForm, GenerateHeader, GenerateRequest, OneOrManySongs
from uvr.api.schemas.responses import Accepted, AcceptedOneOrMany
from uvr.api.services import services
from uvr.errors import PermanentError, RepeatedRequestError, TransientError, UvrError
from uvr.models.offers import Choice
from uvr.storage.uploads import part_file
from uvr.tasks.model import Task, WebhookState

generate = private_blueprint("generate")


@generate.before_request
def require_json_or_form() -> None:
    """Refuse other bodies; a form is read later, by the endpoint."""
    if request.mimetype != FORM_TYPE:
        require_json(or_form=True, or_list=True)


@generate.post("/generate", responses={202: AcceptedOneOrMany, 400: Problem, 409: Problem, 413: Problem, 415: Problem})
def submit(header: GenerateHeader) -> Response:
    """Queue a song for separation, or up to 100 songs as a list of such bodies, of which all are accepted or none.

    Responds at once. GET /tasks/{task_uuid} shows the progress, and hook_url receives a webhook when the task ends. The
    tasks of a list have a `batch` in common, by which GET /tasks finds them.
    """
    if isinstance(g.get("body"), list):
        return submit_batch(g.body, header.idempotency_key, _song_at_url, _task_at_url)
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
    body = _song_at_url(g.body)
    request_once = once(current_user().name, key, body, body.audio)
    services().store.refuse_repeated(request_once)  # before offers, which may have changed since
    task = _task_at_url(body)
    services().store.submit(task, request_once)
    return task


def _song_at_url(values: dict[str, Any]) -> GenerateRequest:
    """The request for one song by its URL. Ends the request with a 400 if it is not valid."""
    body = validated(GenerateRequest, values)
    _check_url("audio", body.audio)
    _check_url("hook_url", body.hook_url)
    return body


def _task_at_url(body: GenerateRequest) -> Task:
    return _task(str(uuid.uuid4()), body, body.audio)


def _submit_file(key: str) -> Task:
    task_uuid, settings = str(uuid.uuid4()), services().settings
    path, max_bytes = part_file(settings, task_uuid), settings.max_audio_bytes
    services().uploads.require_allowance(current_user().name, request.content_length or 0)
    with (
        services().upload_slots.take(current_user().name),
        received_form(path, max_bytes=max_bytes, require_room=services().uploads.require_room) as form,
    ):
        body = validated(GenerateForm, {**form.texts, **form.files})
        _check_url("hook_url", body.hook_url)
        song: SentFile = body.audio
        request_once = once(current_user().name, key, body, f"sha256:{song.sha256}")
        services().store.refuse_repeated(request_once)
        task = _task(task_uuid, body, song.name or "upload")
        try:
            upload = services().uploads.store(song.path, task_uuid, current_user().name)
        except PermanentError as refusal:  # of the storage; the request is not at fault
            raise TransientError(f"The service cannot store uploads at the moment. {refusal.message}") from refusal
    task = replace(task, upload=upload.key)
    try:
        services().store.submit(task, request_once)
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


def _check_url(field: str, url: str) -> None:
    """End the request with a 400 if `url` must not be requested; "" is a field that was left out."""
    try:
        if url:
            services().guard.check(url, field)
    except PermanentError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, field, error.message))


# flask-openapi3 can declare only one kind of body for an endpoint; this adds both to the OpenAPI document.
_content: dict[str, Any] = {}
for _media_types, _schemas in (parse_body(OneOrManySongs), parse_form(GenerateForm)):
    _content.update(_media_types)
    generate.components_schemas.update(_schemas)
generate.paths["/generate"].post.requestBody = RequestBody(content=_content, required=True)
