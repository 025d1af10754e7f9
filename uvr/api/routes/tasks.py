"""The tasks of a user: list, show, change, cancel, retry and delete them, and send a webhook again."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from flask import Response, abort, g, request
from flask_openapi3.models.request_body import RequestBody
from flask_openapi3.utils import parse_body

from uvr.api.access import accessible_task, visible_owner
from uvr.api.auth.basic import private_blueprint
from uvr.api.auth.client_address import service_url
from uvr.api.json_body import require_json, validated
from uvr.api.problems import Problem, problem
from uvr.api.responses import json_response
from uvr.api.schemas.requests import TaskChange, TaskListQuery, TaskPath
from uvr.api.schemas.responses import Redelivery, TaskDetails, TaskList, task_details, task_summary
from uvr.api.services import services
from uvr.api.unknown_fields import refuse_near_misses
from uvr.storage.local import LocalStorage
from uvr.tasks.model import Status, Task, WebhookState, record

tasks = private_blueprint("tasks")


@tasks.get("/tasks", responses={200: TaskList, 400: Problem})
def list_tasks(query: TaskListQuery) -> Response:
    """List your tasks, newest first. The admin sees the tasks of all users."""
    refuse_near_misses(TaskListQuery, request.args)
    page = services().store.page(query.to_filter(), owner=visible_owner(), cursor=query.cursor, limit=query.limit)
    return json_response(TaskList(tasks=list(map(task_summary, page.tasks)), next_cursor=page.next_cursor or None))


@tasks.get("/tasks/<task_uuid>", responses={200: TaskDetails, 404: Problem})
def show_task(path: TaskPath) -> Response:
    """Show one task, with fresh links to its stems once it has succeeded."""
    return json_response(_details(accessible_task(path.task_uuid)))


@tasks.delete("/tasks/<task_uuid>", responses={204: None, 404: Problem, 409: Problem})
def delete_task(path: TaskPath) -> Response:
    """Delete a task and its stems. A task that has not ended is cancelled first.

    503 if the storage does not delete the stems: the task is still there then, cancelled if it had not ended.
    """
    task = accessible_task(path.task_uuid)
    if not services().actions.delete(task.task_uuid):
        abort(_conflict("The task was retried at this moment; delete it again."))
    return Response(status=HTTPStatus.NO_CONTENT)


@tasks.patch(
    "/tasks/<task_uuid>",
    responses={200: TaskDetails, 400: Problem, 404: Problem, 409: Problem, 413: Problem, 415: Problem},
)
def change_task(path: TaskPath) -> Response:
    """Change the priority of a task that waits. It gets the place that it would have had with it from the start.

    A task that has this priority already stays as it is.
    """
    task = accessible_task(path.task_uuid)
    require_json()
    wanted = validated(TaskChange, g.body)
    if task.priority != wanted.priority and not services().actions.change_priority(task.task_uuid, wanted.priority):
        status = accessible_task(path.task_uuid).status
        abort(_conflict(f"The task no longer waits for a processor (it is {status}), so its priority has no effect."))
    return json_response(_details(accessible_task(path.task_uuid)))


@tasks.post("/tasks/<task_uuid>/cancel", responses={200: TaskDetails, 404: Problem, 409: Problem})
def cancel_task(path: TaskPath) -> Response:
    """Cancel a task that is queued or being processed. A task that is already cancelled stays as it is."""
    task = accessible_task(path.task_uuid)
    is_cancelled = services().actions.cancel(task.task_uuid)
    task = accessible_task(path.task_uuid)
    if not is_cancelled and task.status is not Status.CANCELLED:
        abort(_conflict(f"The task is {task.status}; it is too late to cancel it."))
    return json_response(_details(task))


@tasks.post("/tasks/<task_uuid>/retry", responses={202: TaskDetails, 404: Problem, 409: Problem})
def retry_task(path: TaskPath) -> Response:
    """Retry a task that failed or was cancelled, from the step that failed or from the beginning."""
    if not services().actions.retry(accessible_task(path.task_uuid)):
        task = accessible_task(path.task_uuid)
        abort(_conflict(f"The task is {task.status}; only failed or cancelled tasks can be retried."))
    location = {"Location": f"/tasks/{path.task_uuid}"}
    return json_response(_details(accessible_task(path.task_uuid)), HTTPStatus.ACCEPTED, location)


@tasks.post("/tasks/<task_uuid>/webhook", responses={202: Redelivery, 404: Problem, 409: Problem})
def redeliver_webhook(path: TaskPath) -> Response:
    """Send the webhook of an ended task again, at once and with the full schedule of retries.

    It has the webhook-id of the earlier attempts, so a receiver can recognize one that it has already processed.
    """
    task = accessible_task(path.task_uuid)
    if not task.hook_url:
        abort(_conflict("The task was submitted without a hook_url, so it has no webhook."))
    if not task.status.is_final:
        abort(_conflict(f"The task is {task.status}; its webhook is sent when it ends."))
    if task.status is Status.CANCELLED:
        abort(_conflict("The task was cancelled; cancelled tasks have no webhook."))
    if task.stems_deleted_ms:
        abort(
            problem(
                HTTPStatus.CONFLICT,
                "The stems of this task have been deleted, so the links in its webhook would be broken.",
            )
        )
    pending = record(webhook=WebhookState.PENDING, webhook_step=0)
    if not services().broker.webhooks.renew(task.task_uuid, task.priority, pending):
        abort(_conflict("The webhook is already on its way; check the task again in a moment."))
    redelivery = Redelivery(task_uuid=task.task_uuid, webhook_id=task.webhook_id)
    return json_response(redelivery, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{task.task_uuid}"})


def _conflict(detail: str) -> Response:
    return problem(HTTPStatus.CONFLICT, detail)


def _details(task: Task) -> TaskDetails:
    """The task in full, with its position, its ETA, and links to its stems while they are stored."""
    position = services().store.position(task.task_uuid) if task.status is Status.QUEUED else None
    eta_s = services().eta.remaining_s(task, position)
    links: dict[str, str] = {}
    if task.status is Status.SUCCESS and not task.stems_deleted_ms:
        storage, ttl_s = services().storage, services().settings.link_ttl_seconds
        url = partial(storage.url, base_url=service_url()) if isinstance(storage, LocalStorage) else storage.url
        links = {name: url(key, ttl_s) for name, key in task.stems.items()}
    return task_details(task, position=position, eta_s=eta_s, links=links)


# The body is checked like that of POST /generate; this describes it in the OpenAPI document.
_content, _schemas = parse_body(TaskChange)
tasks.components_schemas.update(_schemas)
tasks.paths["/tasks/{task_uuid}"].patch.requestBody = RequestBody(content=_content, required=True)
