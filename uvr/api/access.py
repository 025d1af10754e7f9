"""Which tasks a client may see: its own ones, and all of them if it is the admin.

Every endpoint that takes a task_uuid gets its task from `accessible_task`, and from nowhere else: a task of somebody
else answers as one that does not exist, so that ids tell nothing.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import abort

from uvr.api.auth.basic import current_user
from uvr.api.problems import field_problem
from uvr.api.services import services
from uvr.tasks.model import Task


def accessible_task(task_uuid: str) -> Task:
    """The task of this id if the current user may see it, and else the end of the request with a 404."""
    task = services().store.get(task_uuid)
    if task is None or not _is_visible(task):
        abort(field_problem(HTTPStatus.NOT_FOUND, "task_uuid", "task_uuid names no task that is known here."))
    return task


def visible_owner() -> str:
    """Whose tasks the current user may list: the user's own name, or "" for everybody's."""
    user = current_user()
    return "" if user.is_admin else user.name


def _is_visible(task: Task) -> bool:
    user = current_user()
    return user.is_admin or task.owner == user.name
