"""GET /tasks/{task_uuid}/events: what becomes of a task, as it happens, in the form browsers know (server-sent events).

https://html.spec.whatwg.org/multipage/server-sent-events.html. A stream begins with how the task stands, so a client
that connects again has missed nothing that still matters, whatever it saw last. It ends with the task, at the latest
after five minutes, and when the service stops.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from http import HTTPStatus
from socket import socket

import structlog
from flask import Response, abort, request
from redis import RedisError

from uvr.api.access import accessible_task
from uvr.api.auth.basic import private_blueprint
from uvr.api.problems import Problem, problem
from uvr.api.schemas.requests import TaskPath
from uvr.api.schemas.responses import TaskEvent
from uvr.api.services import Services, services
from uvr.tasks.model import Status, Task

log = structlog.get_logger()

events = private_blueprint("events")

_LOOK_EVERY_S = 0.5
_LOOK_EVERY_WHILE_QUEUED_S = 1.0
_HEARTBEAT_S = 10.0
_MAX_S = 300.0
_RETRY_MS = 2000
_BUSY_RETRY_AFTER_S = 10

_HANGS_UP = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere a client must have gone altogether

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_FIELDS = {"event": {"enum": ["state", "progress"]}, "id": {"type": "string"}, "data": {"type": "string"}}
_EVENT = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS)}
_STREAM = {"description": "a stream of events", "content": {"text/event-stream": {"schema": _EVENT}}}


@events.get("/tasks/<task_uuid>/events", responses={200: _STREAM, 204: None, 404: Problem})
def follow_task(path: TaskPath) -> Response:
    """Follow a task: an event `state` or `progress` for each change, until it has ended.

    The number of streams is limited: 503 with Retry-After when there are too many. Clients that connect again after
    the last event, as browsers do, hear that there is nothing more by a 204.
    """
    task = accessible_task(path.task_uuid)
    if task.status.is_final and request.headers.get("Last-Event-ID") == _id(task):
        return Response(status=HTTPStatus.NO_CONTENT)
    streams = services().event_streams
    if not streams.acquire():
        detail = "Too many clients follow tasks at this moment; poll GET /tasks/{task_uuid}, or try again in a while."
        headers = {"Retry-After": str(_BUSY_RETRY_AFTER_S)}
        abort(problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers))
    lines = _lines(services(), task.task_uuid, Client(request.environ.get("gunicorn.socket")))
    response = Response(lines, headers=_HEADERS, mimetype="text/event-stream")
    response.call_on_close(streams.release)
    return response


class Client:
    """The other end of a connection, None for one that cannot be watched."""

    def __init__(self, connection: socket | None) -> None:
        self._hang_up = select.poll()
        if connection is not None:
            self._hang_up.register(connection, _HANGS_UP)

    def hangs_up_within(self, seconds: float) -> bool:
        """Wait for so long, or until the client is gone; whether it is."""
        # Writing shows it too, but only the next event, or the one after it.
        return bool(self._hang_up.poll(seconds * 1000))


def _lines(services: Services, task_uuid: str, client: Client) -> Iterator[str]:
    """The stream as text; ends early when Redis is away, so that the client asks anew and hears why."""
    yield f"retry: {_RETRY_MS}\n\n"
    try:
        yield from _events(services, task_uuid, client)
    except RedisError as error:
        log.warning("events.broke_off", task_uuid=task_uuid, error=str(error))


def _events(services: Services, task_uuid: str, client: Client) -> Iterator[str]:
    ends_at = time.monotonic() + _MAX_S
    told, told_at = None, time.monotonic()
    while services.event_streams.may_continue() and time.monotonic() < ends_at:
        task = services.store.get(task_uuid)
        if task is None:
            return
        event = _event(services, task)
        if event != told:
            kind = "progress" if told and event.status == told.status else "state"
            told, told_at = event, time.monotonic()
            yield f"event: {kind}\nid: {_id(task)}\ndata: {event.model_dump_json()}\n\n"
        elif time.monotonic() - told_at >= _HEARTBEAT_S:
            told_at = time.monotonic()
            yield ": still there\n\n"
        pause_s = _LOOK_EVERY_WHILE_QUEUED_S if task.status is Status.QUEUED else _LOOK_EVERY_S
        if task.status.is_final or client.hangs_up_within(pause_s):
            return


def _event(services: Services, task: Task) -> TaskEvent:
    position = services.store.position(task.task_uuid) if task.status is Status.QUEUED else None
    return TaskEvent(
        task_uuid=task.task_uuid,
        status=task.status,
        progress=task.progress,
        attempt=task.attempt,
        position=position,
        eta_s=services.eta.remaining_s(task, position),
        error_message=task.error_message or None,
    )


def _id(task: Task) -> str:
    """Names the end of a task apart from one that came before it was brought back."""
    return f"{task.status}.{task.revivals}"
