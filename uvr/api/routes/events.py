"""GET /tasks/{task_uuid}/events: the state and progress of a task as server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html. A stream begins with the present state of the task, so a
client that reconnects misses nothing that still matters, whatever it received last. It ends when the task ends, after
five minutes at the latest, when the service stops, and when the client does not read it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from http import HTTPStatus
from socket import socket

import structlog
from flask import Response, request
from redis import RedisError

from uvr.api.access import accessible_task
from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.problems import Problem
from uvr.api.schemas.requests import TaskPath
from uvr.api.schemas.responses import task_event
from uvr.api.services import Services, services
from uvr.tasks.model import Status, Task

log = structlog.get_logger()

events = private_blueprint("events")

_POLL_EVERY_S = 0.5
_POLL_EVERY_WHILE_QUEUED_S = 1.0
_KEEPALIVE_S = 10.0
_MAX_S = 300.0
_RECONNECT_AFTER_MS = 2000

# On Linux, poll() reports that the client closed its side; on other systems only that the connection is gone.
_CLOSED_BY_CLIENT = getattr(select, "POLLRDHUP", 0)

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_FIELDS = {"event": {"enum": ["state", "progress"]}, "id": {"type": "string"}, "data": {"type": "string"}}
_EVENT = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS)}
_STREAM = {"description": "stream of events", "content": {"text/event-stream": {"schema": _EVENT}}}


@events.get("/tasks/<task_uuid>/events", responses={200: _STREAM, 204: None, 404: Problem})
def follow_task(path: TaskPath) -> Response:
    """Follow a task: an event `state` or `progress` for each change, until the task has ended.

    The number of streams is limited: 429 with Retry-After if the user has too many, 503 if all users together have. A
    client that reconnects after the last event, as browsers do, gets a 204 because nothing more will come.
    """
    task = accessible_task(path.task_uuid)
    if task.status.is_final and request.headers.get("Last-Event-ID") == _event_id(task):
        return Response(status=HTTPStatus.NO_CONTENT)
    slot = services().event_streams.take(current_user().name)
    lines = _event_stream(services(), task.task_uuid, Client(request.environ.get("gunicorn.socket")))
    response = Response(lines, headers=_HEADERS, mimetype="text/event-stream")
    response.call_on_close(slot.release)
    return response


class Client:
    """The client's end of a connection. Without a `connection` it never seems to disconnect."""

    def __init__(self, connection: socket | None) -> None:
        self._poll = select.poll()
        if connection is not None:
            self._poll.register(connection, _CLOSED_BY_CLIENT)

    def disconnects_within(self, seconds: float) -> bool:
        """Wait for that long or until the client disconnects; whether it did."""
        # A write would fail too, but only at the next event or the one after it.
        return bool(self._poll.poll(seconds * 1000))


def _event_stream(services: Services, task_uuid: str, client: Client) -> Iterator[str]:
    """The stream as text. It ends early if Redis fails, so that the client reconnects and gets an error response."""
    yield f"retry: {_RECONNECT_AFTER_MS}\n\n"
    ends_at = time.monotonic() + _MAX_S
    sent, sent_at = None, time.monotonic()
    try:
        while services.event_streams.may_continue() and time.monotonic() < ends_at:
            task = services.store.get(task_uuid)
            if task is None:
                return
            position = services.store.position(task_uuid) if task.status is Status.QUEUED else None
            event = task_event(task, position=position, eta_s=services.eta.remaining_s(task, position))
            if event != sent:
                kind = "progress" if sent and event.status == sent.status else "state"
                sent, sent_at = event, time.monotonic()
                yield f"event: {kind}\nid: {_event_id(task)}\ndata: {event.model_dump_json()}\n\n"
            elif time.monotonic() - sent_at >= _KEEPALIVE_S:
                sent_at = time.monotonic()
                yield ": still there\n\n"
            pause_s = _POLL_EVERY_WHILE_QUEUED_S if task.status is Status.QUEUED else _POLL_EVERY_S
            if task.status.is_final or client.disconnects_within(pause_s):
                return
    except RedisError as error:
        log.warning("events.broke_off", task_uuid=task_uuid, error=str(error))


def _event_id(task: Task) -> str:
    """The status and the number of retries, so that a task which ends, is retried and ends again has two ids."""
    return f"{task.status}.{task.revivals}"
