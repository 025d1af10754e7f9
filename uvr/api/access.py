"""Access control for tasks: users see their own tasks, the admin sees all.

Every endpoint with a task_uuid gets its task from `accessible_task` and from nowhere else. Another user's task gets the
same 404 as one that does not exist, so clients cannot find out which ids exist.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import abort

from uvr.api.auth.basic import current_user
from uvr.api.problems import field_problem
from uvr.api.services import services
from uvr.tasks.model import Task


def accessible_task(task_uuid: str) -> Task:
    """The task with this id. Ends the request with a 404 if there is none or the current user may not see it."""
    task, user = services().store.get(task_uuid), current_user()
    if task is None or not (user.is_admin or task.owner == user.name):
        abort(field_problem(HTTPStatus.NOT_FOUND, "task_uuid", "There is no task with this task_uuid."))
    return task


def visible_owner() -> str:
    """The owner whose tasks the current user may list: the user's own name, or "" for all owners if it is the admin."""
    user = current_user()
    return "" if user.is_admin else user.name
