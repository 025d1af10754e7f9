"""What became of what was submitted, and what a client may do about it: the list, one task, cancel, retry, delete."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from flask import Response, abort, request

from uvr.api.access import accessible_task, visible_owner
from uvr.api.auth.basic import private_blueprint
from uvr.api.auth.client_address import service_url
from uvr.api.problems import Problem, problem
from uvr.api.responses import answer
from uvr.api.schemas.requests import TaskListQuery, TaskPath, wanted
from uvr.api.schemas.responses import Redelivery, TaskDetails, TaskList, details, summary
from uvr.api.services import services
from uvr.api.unknown_fields import refuse_near_misses
from uvr.storage.local import LocalStorage
from uvr.tasks.model import Status, Task, WebhookState, record

tasks = private_blueprint("tasks")


@tasks.get("/tasks", responses={200: TaskList, 400: Problem})
def list_tasks(query: TaskListQuery) -> Response:
    """List your tasks, latest first; the admin sees everybody's."""
    refuse_near_misses(TaskListQuery, request.args)
    page = services().store.page(wanted(query), owner=visible_owner(), cursor=query.cursor, limit=query.limit)
    return answer(TaskList(tasks=[summary(task) for task in page.tasks], next_cursor=page.next_cursor or None))


@tasks.get("/tasks/<task_uuid>", responses={200: TaskDetails, 404: Problem})
def show_task(path: TaskPath) -> Response:
    """Show one task, with fresh links to its stems once it succeeded."""
    return answer(_details(accessible_task(path.task_uuid)))


@tasks.delete("/tasks/<task_uuid>", responses={204: None, 404: Problem, 409: Problem})
def delete_task(path: TaskPath) -> Response:
    """Delete a task with all that was made of it, whatever state it is in; work on it ends.

    503 when the storage did not delete the stems; the task is cancelled then if it had not ended, and still there.
    """
    task = accessible_task(path.task_uuid)
    if not services().control.delete(task.task_uuid):
        abort(problem(HTTPStatus.CONFLICT, "The task has been brought back at this moment; delete it once more."))
    return Response(status=HTTPStatus.NO_CONTENT)


@tasks.post("/tasks/<task_uuid>/cancel", responses={200: TaskDetails, 404: Problem, 409: Problem})
def cancel_task(path: TaskPath) -> Response:
    """End a task that waits or is being separated; one that was cancelled before stays as it is."""
    task = accessible_task(path.task_uuid)
    done = services().control.cancel(task.task_uuid)
    task = accessible_task(path.task_uuid)
    if not done and task.status is not Status.CANCELLED:
        abort(problem(HTTPStatus.CONFLICT, f"The task is {task.status}, which is too late to cancel it."))
    return answer(_details(task))


@tasks.post("/tasks/<task_uuid>/retry", responses={202: TaskDetails, 404: Problem, 409: Problem})
def retry_task(path: TaskPath) -> Response:
    """Take a task up again that failed or was cancelled, where it failed or from the beginning."""
    if not services().control.retry(accessible_task(path.task_uuid)):
        task = accessible_task(path.task_uuid)
        abort(problem(HTTPStatus.CONFLICT, f"The task is {task.status}; only what failed or was cancelled is retried."))
    location = {"Location": f"/tasks/{path.task_uuid}"}
    return answer(_details(accessible_task(path.task_uuid)), HTTPStatus.ACCEPTED, location)


@tasks.post("/tasks/<task_uuid>/webhook", responses={202: Redelivery, 404: Problem, 409: Problem})
def redeliver_webhook(path: TaskPath) -> Response:
    """Send the webhook of a task that has ended once more, at once and with a whole schedule of tries.

    It has the webhook-id of the earlier tries, so that a receiver which has it already can tell.
    """
    task = accessible_task(path.task_uuid)
    if not task.hook_url:
        abort(problem(HTTPStatus.CONFLICT, "The task was submitted without a hook_url, so it has no webhook."))
    if not task.status.is_final:
        abort(problem(HTTPStatus.CONFLICT, f"The task is {task.status}; its webhook is sent when it ends."))
    if task.status is Status.CANCELLED:
        abort(problem(HTTPStatus.CONFLICT, "The task was cancelled; nobody is told of that by a webhook."))
    if task.stems_deleted_ms:
        abort(problem(HTTPStatus.CONFLICT, "The stems of this task have been deleted; its links would lead nowhere."))
    anew = record(webhook=WebhookState.PENDING, webhook_step=0)
    if not services().broker.webhooks.renew(task.task_uuid, task.priority, anew):
        abort(problem(HTTPStatus.CONFLICT, "The webhook is on its way already; look at the task in a moment."))
    redelivery = Redelivery(task_uuid=task.task_uuid, webhook_id=task.webhook_id)
    return answer(redelivery, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{task.task_uuid}"})


def _details(task: Task) -> TaskDetails:
    position = services().store.position(task.task_uuid) if task.status is Status.QUEUED else None
    eta_s = services().forecast.remaining_s(task, position)
    return details(task, position=position, eta_s=eta_s, links=_links(task))


def _links(task: Task) -> dict[str, str]:
    if task.status != Status.SUCCESS or task.stems_deleted_ms:
        return {}
    storage, ttl_s = services().storage, services().settings.link_ttl_seconds
    link = partial(storage.url, base_url=service_url()) if isinstance(storage, LocalStorage) else storage.url
    return {name: link(key, ttl_s) for name, key in task.stems.items()}
