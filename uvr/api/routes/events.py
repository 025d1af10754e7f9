"""Server-sent events: GET /tasks/{task_uuid}/events follows one task, GET /events all tasks of a user.

A stream begins with the present state, so a client that reconnects misses nothing that still matters, whatever it
received last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

from flask import Response, request

from uvr.api.access import accessible_task, visible_owner
from uvr.api.auth.basic import current_user, private_blueprint
from uvr.api.event_stream import event_stream
from uvr.api.problems import Problem
from uvr.api.schemas.requests import FeedQuery, TaskPath
from uvr.api.services import services
from uvr.api.task_feed import READ_EVERY_S as READ_ALL_EVERY_S
from uvr.api.task_feed import Changes, TaskFeed
from uvr.api.task_watch import READ_EVERY_S, Seen, TaskWatch
from uvr.tasks.model import Task

events = private_blueprint("events")

_TASKS_PER_EVENT = 500


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
    return event_stream(TaskNews(services().watch, task.task_uuid))


@events.get("/events", responses={200: _stream_of("all", "changed")})
def follow_tasks(query: FeedQuery) -> Response:
    """Follow all your tasks, up to 5000: an event `all` with what there is, then `changed` for each change.

    The admin follows the tasks of all users, or with `own` only the admin's. A client that reconnects with the
    Last-Event-ID of a stream gets what has changed since then, or all tasks again. The number of streams is limited:
    429 with Retry-After if the user has too many, 503 if all users together have.
    """
    feed = services().feeds.of(current_user().name if query.own else visible_owner())
    return event_stream(FeedNews(feed, request.headers.get("Last-Event-ID", "")))


class TaskNews:
    """The `News` of one task: its state, and then each change."""

    look_every_s = READ_EVERY_S

    def __init__(self, watch: TaskWatch, task_uuid: str) -> None:
        self.is_over = False
        self._watch = watch
        self._task_uuid = task_uuid
        self._sent: Seen | None = None
        self._following = ExitStack()
        self._following.enter_context(watch.following(task_uuid))

    def events(self) -> Iterator[str]:
        """A `state` if the status has changed, a `progress` if anything else has."""
        sent, self._sent = self._sent, self._watch.seen(self._task_uuid)
        if (seen := self._sent) is None:
            self.is_over = True
            return
        self.is_over = seen.task.status.is_final
        if sent is None or sent.text != seen.text:
            kind = "progress" if sent and sent.task.status is seen.task.status else "state"
            yield f"event: {kind}\nid: {_event_id(seen.task)}\ndata: {seen.text}\n\n"

    def close(self) -> None:
        """Follow the task no longer."""
        self._following.close()


class FeedNews:
    """The `News` of a feed: all tasks, or what has changed after `version`, and then each change."""

    look_every_s = READ_ALL_EVERY_S
    is_over = False

    def __init__(self, feed: TaskFeed, version: str) -> None:
        self._feed = feed
        self._version = version

    def events(self) -> Iterator[str]:
        """Events `all` or `changed`, none if nothing has changed."""
        changes = self._feed.changes_since(self._version)
        self._version = changes.version
        if changes.is_all or changes.tasks or changes.removed:
            yield from _feed_events(changes)

    def close(self) -> None:
        """Nothing to do: a feed is kept for those who come back."""


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
