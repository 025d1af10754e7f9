"""What became of what was submitted: the list of tasks, one task, and its webhook once more."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, abort
from flask_openapi3.blueprint import APIBlueprint

from uvr.api.answers import answer
from uvr.api.auth import require_credentials
from uvr.api.problems import Problem, field_problem, problem
from uvr.api.schemas import Redelivery, TaskDetails, TaskList, TaskListQuery, TaskPath, details, summary
from uvr.api.services import services
from uvr.tasks import Status, Task, WebhookState, record

tasks = APIBlueprint("tasks", __name__, abp_responses={401: Problem, 503: Problem})
tasks.before_request(require_credentials)


@tasks.get("/tasks", responses={200: TaskList, 400: Problem})
def list_tasks(query: TaskListQuery) -> Response:
    """List tasks, latest first."""
    page = services().store.page(status=query.status, cursor=query.cursor, limit=query.limit)
    return answer(TaskList(tasks=[summary(task) for task in page.tasks], next_cursor=page.next_cursor or None))


@tasks.get("/tasks/<task_uuid>", responses={200: TaskDetails, 404: Problem})
def show_task(path: TaskPath) -> Response:
    """Show one task, with fresh links to its stems once it succeeded."""
    task = _known(path.task_uuid)
    position = services().store.position(task.task_uuid) if task.status == Status.QUEUED else None
    return answer(details(task, position=position, links=_links(task)))


@tasks.post("/tasks/<task_uuid>/webhook", responses={202: Redelivery, 404: Problem, 409: Problem})
def redeliver_webhook(path: TaskPath) -> Response:
    """Send the webhook of a task that has ended once more, at once and with a whole schedule of tries.

    It has the webhook-id of the earlier tries, so that a receiver which has it already can tell.
    """
    task = _known(path.task_uuid)
    if not task.hook_url:
        abort(problem(HTTPStatus.CONFLICT, "The task was submitted without a hook_url, so it has no webhook."))
    if not task.status.is_final:
        abort(problem(HTTPStatus.CONFLICT, f"The task is {task.status}; its webhook is sent when it ends."))
    if task.stems_deleted_ms:
        abort(problem(HTTPStatus.CONFLICT, "The stems of this task have been deleted; its links would lead nowhere."))
    anew = record(webhook=WebhookState.PENDING, webhook_step=0)
    if not services().queues.webhooks.renew(task.task_uuid, task.priority, anew):
        abort(problem(HTTPStatus.CONFLICT, "The webhook is on its way already; look at the task in a moment."))
    redelivery = Redelivery(task_uuid=task.task_uuid, webhook_id=task.webhook_id)
    return answer(redelivery, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{task.task_uuid}"})


def _known(task_uuid: str) -> Task:
    task = services().store.get(task_uuid)
    if task is None:
        abort(field_problem(HTTPStatus.NOT_FOUND, "task_uuid", "task_uuid names no task that is known here."))
    return task


def _links(task: Task) -> dict[str, str]:
    if task.status != Status.SUCCESS or task.stems_deleted_ms:
        return {}
    ttl_s = services().settings.link_ttl_seconds
    return {name: services().storage.url(key, ttl_s) for name, key in task.stems.items()}
