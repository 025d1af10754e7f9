"""GET /tasks and GET /tasks/{task_uuid}: what became of what was submitted."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, abort
from flask_openapi3.blueprint import APIBlueprint

from uvr.api.answers import answer
from uvr.api.auth import require_credentials
from uvr.api.problems import Problem, field_problem
from uvr.api.schemas import TaskDetails, TaskList, TaskListQuery, TaskPath, details, summary
from uvr.api.services import services
from uvr.tasks import Status, Task

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
    task = services().store.get(path.task_uuid)
    if task is None:
        abort(field_problem(HTTPStatus.NOT_FOUND, "task_uuid", "task_uuid names no task that is known here."))
    position = services().store.position(task.task_uuid) if task.status == Status.QUEUED else None
    return answer(details(task, position=position, links=_links(task)))


def _links(task: Task) -> dict[str, str]:
    if task.status != Status.SUCCESS:
        return {}
    ttl_s = services().settings.link_ttl_seconds
    return {name: services().storage.url(key, ttl_s) for name, key in task.stems.items()}
