"""Many songs in one POST /generate: a list of bodies, of which all are accepted, or none.

Each body is checked as if it came alone, and every error names its place in the list: `[3].audio`. The tasks have the
id of their batch in common. Their own ids are in the order of the list, so a list of tasks keeps it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Response, abort, g
from werkzeug.exceptions import HTTPException

from uvr.api.auth.basic import current_user
from uvr.api.idempotency import once_for_all
from uvr.api.json_body import require_object
from uvr.api.problems import FieldError, Problem, bad_request, field_problem, problem
from uvr.api.responses import json_response
from uvr.api.schemas.requests import MAX_SONGS, GenerateRequest
from uvr.api.schemas.responses import AcceptedBatch, FieldWarning, QueuedTask
from uvr.api.services import services
from uvr.api.unknown_fields import MAX_WARNINGS
from uvr.errors import RepeatedRequestError
from uvr.tasks.model import Task

CheckSong = Callable[[dict[str, Any]], GenerateRequest]
"""The request for one song. Ends the request if the body is not valid, and leaves warnings in `g.warnings`."""
MakeTask = Callable[[GenerateRequest], Task]
"""The task of one song. Ends the request if its model or stems are not offered."""
Value = TypeVar("Value")
Result = TypeVar("Result")


def submit_batch(values: list[Any], key: str, check: CheckSong, make_task: MakeTask) -> Response:
    """Queue the songs of a list, and respond with their ids. `key` is the `Idempotency-Key`, or ""."""
    max_songs = min(MAX_SONGS, services().settings.waiting_tasks_limit or MAX_SONGS)
    if not 0 < len(values) <= max_songs:
        message = f"body must be a list of 1 to {max_songs} songs, not {len(values)}; send more in several lists."
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", message))
    warnings, errors = list[FieldWarning](), dict[int, list[FieldError]]()
    songs = _each(enumerate(values), partial(_checked, check, warnings), errors)
    request_once = once_for_all(current_user().name, key, songs.values())
    try:
        if not errors:
            services().store.refuse_repeated(request_once)
        made = _each(songs.items(), lambda _, song: make_task(song), errors)
        if errors:
            abort(bad_request([error for number in sorted(errors) for error in errors[number]]))
        tasks = _as_batch(made.values())
        services().store.submit_batch(tasks, request_once)
    except RepeatedRequestError as earlier:
        if not earlier.asks_for_the_same:
            abort(problem(HTTPStatus.CONFLICT, earlier.message))
        tasks = services().store.batch(earlier.task_uuid)
        return _accepted(earlier.task_uuid, tasks, warnings, {"Idempotency-Replayed": "true"})
    return _accepted(tasks[0].batch, tasks, warnings, {})


def _each(
    values: Iterable[tuple[int, Value]], step: Callable[[int, Value], Result], errors: dict[int, list[FieldError]]
) -> dict[int, Result]:
    """What `step` makes of each value, by its place. What it refuses with a 400 has its errors in `errors` instead."""
    results = {}
    for number, value in values:
        try:
            results[number] = step(number, value)
        except HTTPException as refusal:
            response = refusal.response
            if not isinstance(response, Response) or response.status_code != HTTPStatus.BAD_REQUEST:
                raise
            errors[number] = list(_errors_at(number, Problem.model_validate_json(response.get_data())))
    return results


def _checked(check: CheckSong, warnings: list[FieldWarning], number: int, value: Any) -> GenerateRequest:
    """The request for the song at this place; warnings about its ignored fields are added to `warnings`."""
    require_object(value, f"[{number}]")
    song = check(value)
    warnings += [
        FieldWarning(field=f"[{number}].{warning.field}", message=f"[{number}].{warning.message}")
        for warning in g.warnings
    ]
    return song


def _as_batch(songs: Iterable[Task]) -> list[Task]:
    """The tasks with an id of their batch, and with ids of their own that are in the order of the list."""
    tasks, batch = list(songs), str(uuid.uuid4())
    task_uuids = sorted(str(uuid.uuid4()) for _ in tasks)
    return [replace(task, task_uuid=task_uuid, batch=batch) for task_uuid, task in zip(task_uuids, tasks, strict=True)]


def _errors_at(number: int, refusal: Problem) -> Iterable[FieldError]:
    """The errors of one song, with its place in the list."""
    place = f"[{number}]"
    for error in refusal.errors:
        if error.field.startswith(place):
            yield error
        else:
            # Nearly every message begins with the name of its field.
            link = "." if error.message.startswith(error.field) else f".{error.field}: "
            yield FieldError(field=f"{place}.{error.field}", message=f"{place}{link}{error.message}")


def _accepted(batch: str, tasks: Iterable[Task], warnings: list[FieldWarning], headers: dict[str, str]) -> Response:
    queued = [
        QueuedTask(task_uuid=task.task_uuid, priority=task.priority, model=task.chosen_model, preset=task.preset)
        for task in tasks
    ]
    accepted = AcceptedBatch(batch=batch, tasks=queued, warnings=warnings[:MAX_WARNINGS])
    return json_response(accepted, HTTPStatus.ACCEPTED, {"Location": f"/tasks?batch={batch}", **headers})
