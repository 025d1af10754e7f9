"""Server-sent events: GET /tasks/{task_uuid}/events follows one task, GET /events all tasks of a user.

https://html.spec.whatwg.org/multipage/server-sent-events.html. A stream begins with the present state, so a client that
reconnects misses nothing that still matters, whatever it received last. It ends when its task ends, after five minutes
at the latest, when the service stops, and when the client does not read it.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from socket import socket
from typing import Any

import structlog
from flask import Response, request
from redis import RedisError

from uvr.api.access import accessible_task, visible_owner
from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.auth.session_cookie import current_session
from uvr.api.problems import Problem
from uvr.api.request_slots import Slot
from uvr.api.schemas.requests import FeedQuery, TaskPath
from uvr.api.schemas.responses import task_event
from uvr.api.services import Services, services
from uvr.api.task_feed import READ_EVERY_S, Changes, TaskFeed
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

_TASKS_PER_EVENT = 500

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _stream_of(*events: str) -> dict[str, Any]:
    """A stream with these events, for the OpenAPI document."""
    fields = {"event": {"enum": list(events)}, "id": {"type": "string"}, "data": {"type": "string"}}
    schema = {"type": "object", "properties": fields, "required": ["event", "data"]}
    return {"description": "stream of events", "content": {"text/event-stream": {"schema": schema}}}


@events.get("/tasks/<task_uuid>/events", responses={200: _stream_of("state", "progress"), 204: None, 404: Problem})
def follow_task(path: TaskPath) -> Response:
    """Follow a task: an event `state` or `progress` for each change, until the task has ended.

    The number of streams is limited: 429 with Retry-After if the user has too many, 503 if all users together have. A
    client that reconnects after the last event, as browsers do, gets a 204 because nothing more will come.
    """
    task = accessible_task(path.task_uuid)
    if task.status.is_final and request.headers.get("Last-Event-ID") == _event_id(task):
        return Response(status=HTTPStatus.NO_CONTENT)
    slot = services().event_streams.take(current_user().name)
    return _streamed(_event_stream(services(), task.task_uuid, _client()), slot)


@events.get("/events", responses={200: _stream_of("all", "changed")})
def follow_tasks(query: FeedQuery) -> Response:
    """Follow all your tasks, up to 5000: an event `all` with what there is, then `changed` for each change.

    The admin follows the tasks of all users, or with `own` only the admin's. A client that reconnects with the
    Last-Event-ID of a stream gets what has changed since then, or all tasks again. The number of streams is limited:
    429 with Retry-After if the user has too many, 503 if all users together have.
    """
    name = current_user().name
    feed = services().feeds.of(name if query.own else visible_owner())
    stream = _feed_stream(services(), feed, request.headers.get("Last-Event-ID", ""), _may_go_on(), _client())
    return _streamed(stream, services().event_streams.take(name))


def _streamed(lines: Iterator[str], slot: Slot) -> Response:
    response = Response(lines, headers=_HEADERS, mimetype="text/event-stream")
    response.call_on_close(slot.release)
    return response


def _client() -> Client:
    return Client(request.environ.get("gunicorn.socket"))


def _may_go_on() -> Callable[[], bool]:
    """Asks whether the user of this request still exists, and is still signed in if the page has sent it."""
    sessions, users, name, session = services().sessions, services().users, current_user().name, current_session()
    if session is None:
        return lambda: users.account(name) is not None
    return lambda: sessions.find(session.cookie, users.account) is not None


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


def _feed_stream(
    services: Services, feed: TaskFeed, version: str, may_go_on: Callable[[], bool], client: Client
) -> Iterator[str]:
    """The stream of a feed as text, from `version` on; it ends early like `_event_stream`."""
    yield f"retry: {_RECONNECT_AFTER_MS}\n\n"
    ends_at = time.monotonic() + _MAX_S
    sent_at = time.monotonic()
    try:
        while services.event_streams.may_continue() and time.monotonic() < ends_at and may_go_on():
            changes = feed.changes_since(version)
            if changes.is_all or changes.tasks or changes.removed:
                version, sent_at = changes.version, time.monotonic()
                yield from _feed_events(changes)
            elif time.monotonic() - sent_at >= _KEEPALIVE_S:
                sent_at = time.monotonic()
                yield ": still there\n\n"
            if client.disconnects_within(READ_EVERY_S):
                return
    except RedisError as error:
        log.warning("events.broke_off", error=str(error))


def _feed_events(changes: Changes) -> Iterator[str]:
    """The changes as events. The id comes with the last one: a client that gets only some of them needs all again."""
    removed = json.dumps(changes.removed)
    for start in range(0, max(1, len(changes.tasks)), _TASKS_PER_EVENT):
        has_more = start + _TASKS_PER_EVENT < len(changes.tasks)
        tasks = ",".join(changes.tasks[start : start + _TASKS_PER_EVENT])
        more, left_out = json.dumps(has_more), json.dumps(changes.left_out)
        if changes.is_all:
            yield f'event: all\ndata: {{"tasks":[{tasks}],"more":{more},"left_out":{left_out}}}\n'
        else:
            yield f'event: changed\ndata: {{"tasks":[{tasks}],"removed":{removed}}}\n'
            removed = "[]"
        yield "\n" if has_more else f"id: {changes.version}\n\n"


def _event_id(task: Task) -> str:
    """The status and the number of retries, so that a task which ends, is retried and ends again has two ids."""
    return f"{task.status}.{task.revivals}"
