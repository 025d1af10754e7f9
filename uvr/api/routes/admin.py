"""/admin: the whole service at a glance, and its dead letters. For the admin only; all others get a 403."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus

import structlog
from flask import Response, abort

from uvr.api.auth.basic import current_user, current_user_name, private_blueprint
from uvr.api.problems import Problem, field_problem, problem
from uvr.api.responses import json_response
from uvr.api.schemas.admin import (
    BroughtBack,
    DeadLetterEntry,
    DeadLetterList,
    DeadLetterListQuery,
    DeadLetterQuery,
    DiskSpace,
    LiveWorker,
    NodeSilence,
    Overview,
    PrioritySize,
    QueueSize,
    RedisState,
    StorageState,
)
from uvr.api.schemas.requests import TaskPath
from uvr.api.services import services
from uvr.liveness.disks import FACT as DISKS
from uvr.liveness.disks import announced_spaces, folder_spaces
from uvr.liveness.nodes import silences_s
from uvr.logs import without_secrets
from uvr.redis.durability import durability_from, shown_config
from uvr.redis.requirements import info_of, server_name
from uvr.storage.local import LocalStorage
from uvr.tasks.broker import KINDS, Kind
from uvr.tasks.dead_letters import DeadTask

log = structlog.get_logger()

Workers = Mapping[str, Sequence[Mapping[str, str]]]
"""The facts of each worker, by kind, as `live_workers` finds them."""

_MAX_COUNTED_FILES = 10_000

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
    workers = services().workers()
    tasks = {status.value: count for status, count in services().store.counts().items()}
    nodes = [
        NodeSilence(node=node or None, processor_s=silent.get("processor"), uploader_s=silent.get("uploader"))
        for node, silent in sorted(silences_s(services().broker).items())
    ]
    overview = Overview(
        tasks=tasks,
        queues=_queues(),
        workers=_live_workers(workers),
        nodes=nodes,
        disks=_disks(workers),
        storage=_storage(workers.get("uploader", ())),
        redis=_redis(),
    )
    return json_response(overview)


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


def _queues() -> list[QueueSize]:
    found = []
    for kind, node, queue in services().broker.all_queues():
        sizes = queue.sizes()
        priorities = [
            PrioritySize(priority=priority, waiting=waiting, oldest_s=sizes.oldest_s[priority])
            for priority, waiting in sorted(sizes.by_priority.items(), reverse=True)
        ]
        found.append(
            QueueSize(
                queue=kind,
                node=node or None,
                waiting=sizes.waiting,
                leased=sizes.leased,
                delayed=sizes.delayed,
                dead=sizes.dead,
                priorities=priorities,
            )
        )
    return found


def _live_workers(workers: Workers) -> list[LiveWorker]:
    return [
        LiveWorker(**{**facts, "kind": kind, "name": facts["name"].removeprefix(f"{kind}:")})
        for kind, found in sorted(workers.items())
        for facts in ({name: fact for name, fact in facts.items() if name != DISKS} for facts in found)
    ]


def _disks(workers: Workers) -> list[DiskSpace]:
    """The disks that workers have announced, then those of this process, which receives uploads."""
    found = [
        DiskSpace(kind=kind, name=facts["name"].removeprefix(f"{kind}:"), node=facts.get("node"), **asdict(space))
        for kind, of_kind in sorted(workers.items())
        for facts in of_kind
        for space in announced_spaces(facts)
    ]
    settings, name = services().settings, f"{socket.gethostname()}:{os.getpid()}"
    own = folder_spaces(settings, ("TEMP_DIR", "OUTPUT_DIR"))
    return found + [DiskSpace(kind="api", name=name, node=settings.node_id or None, **asdict(space)) for space in own]


def _storage(uploaders: Sequence[Mapping[str, str]]) -> StorageState:
    """The storage as the uploaders find it: the API itself stores songs only, when they are sent."""
    settings, storage = services().settings, services().storage
    problems = {facts.get("paused", "") for facts in uploaders}
    return StorageState(
        kind=storage.kind,
        bucket=settings.s3_bucket_name or None,
        endpoint=without_secrets(settings.s3_endpoint_url) or None,
        folder=str(storage.root) if isinstance(storage, LocalStorage) else None,
        usable="" in problems if uploaders else None,
        problem=" ".join(sorted(filter(None, problems))) or None,
        stored_bytes=storage.stored_bytes(_MAX_COUNTED_FILES) if isinstance(storage, LocalStorage) else None,
    )


def _redis() -> RedisState:
    server = services().clients.server_of(services().broker.root)
    info = info_of(server)
    durability = durability_from(info, shown_config(server))
    return RedisState(
        server=server_name(info) or None,
        used_bytes=info.get("used_memory"),
        max_bytes=info.get("maxmemory") or None,
        clients=info.get("connected_clients"),
        up_s=info.get("uptime_in_seconds"),
        appendfsync=durability.appendfsync,
        saved_s=durability.saved_s,
        writes_fail=durability.writes_fail,
        risks=durability.risks(),
    )


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
