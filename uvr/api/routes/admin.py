"""/admin: the whole service at a glance, and its dead letters. For the admin only; all others get a 403."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Response, abort

from uvr.api.auth.basic import current_user, current_user_name, private_blueprint
from uvr.api.overview import overview
from uvr.api.problems import Problem, field_problem, problem
from uvr.api.responses import json_response
from uvr.api.schemas.admin import (
    BroughtBack,
    DeadLetterEntry,
    DeadLetterList,
    DeadLetterListQuery,
    DeadLetterQuery,
    Overview,
)
from uvr.api.schemas.requests import TaskPath
from uvr.api.services import services
from uvr.tasks.broker import KINDS, Kind
from uvr.tasks.dead_letters import DeadTask

log = structlog.get_logger()

admin = private_blueprint("admin")


@admin.before_request
def require_admin() -> Response | None:
    """Refuse all others. Runs after the check of credentials; a request for OPTIONS has no user."""
    if current_user_name() is None or current_user().is_admin:
        return None
    return problem(HTTPStatus.FORBIDDEN, "Only the admin may see and change the state of the whole service.")


@admin.get("/admin/overview", responses={200: Overview, 403: Problem})
def show_overview() -> Response:
    """Show the queues, the workers, the nodes, the disks, the storage and Redis, all in one answer."""
    return json_response(overview())


@admin.get("/admin/dead-letters", responses={200: DeadLetterList, 403: Problem})
def list_dead_letters(query: DeadLetterListQuery) -> Response:
    """List the tasks that were given up."""
    kinds = _kinds(query.queue)
    found = services().dead_letters.page(kinds, query.start, query.limit)
    total = sum(queue.sizes().dead for kind, _, queue in services().broker.all_queues() if kind in kinds)
    return json_response(DeadLetterList(dead_letters=list(map(_entry, found)), total=total))


@admin.post("/admin/dead-letters/<task_uuid>/retry", responses={202: BroughtBack, 403: Problem, 404: Problem})
def retry_dead_letter(path: TaskPath, query: DeadLetterQuery) -> Response:
    """Bring a dead letter back: its task goes on at the step that failed, as if it had not been tried before."""
    if not services().dead_letters.retry(path.task_uuid, _kinds(query.queue)):
        abort(_no_dead_letter())
    log.info("dead_letter.retried", task_uuid=path.task_uuid, user=current_user().name)
    back = BroughtBack(task_uuid=path.task_uuid)
    return json_response(back, HTTPStatus.ACCEPTED, {"Location": f"/tasks/{path.task_uuid}"})


@admin.delete("/admin/dead-letters/<task_uuid>", responses={204: None, 403: Problem, 404: Problem})
def drop_dead_letter(path: TaskPath, query: DeadLetterQuery) -> Response:
    """Drop a dead letter. Its task stays failed, and stems that were not stored are deleted."""
    if not services().dead_letters.drop(path.task_uuid, _kinds(query.queue)):
        abort(_no_dead_letter())
    log.info("dead_letter.dropped", task_uuid=path.task_uuid, user=current_user().name)
    return Response(status=HTTPStatus.NO_CONTENT)


def _kinds(queue: Kind | None) -> tuple[Kind, ...]:
    return (queue,) if queue else KINDS


def _entry(letter: DeadTask) -> DeadLetterEntry:
    return DeadLetterEntry(
        task_uuid=letter.task_uuid,
        queue=letter.queue,
        node=letter.node or None,
        buried_at=letter.buried_at,
        failures=letter.failures,
        crashes=letter.crashes,
        error_message=letter.error_message,
    )


def _no_dead_letter() -> Response:
    message = "There is no dead letter with this task_uuid in these queues; GET /admin/dead-letters lists them."
    return field_problem(HTTPStatus.NOT_FOUND, "task_uuid", message)
