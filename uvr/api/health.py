"""GET /health: whether tasks are accepted (Redis), and whether anybody works on them. No credentials needed."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import structlog
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from redis import RedisError

from uvr.api.answers import answer
from uvr.api.schemas import Components, Health, WorkerHealth
from uvr.api.services import services
from uvr.presence import present
from uvr.tasks import iso_now

log = structlog.get_logger()

health = APIBlueprint("health", __name__)


@health.get("/health", responses={200: Health, 503: Health})
def show_health() -> Response:
    """Tell whether tasks are accepted.

    503 only while Redis is gone: without workers tasks are still taken, and wait.
    """
    components = _components()
    healthy = components.redis == "up"
    report = Health(status="healthy" if healthy else "unhealthy", timestamp=iso_now(), components=components)
    return answer(report, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)


def _components() -> Components:
    try:
        workers = present(services().clients.commands, services().settings.redis_task_queue)
    except RedisError as error:
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        unknown = WorkerHealth(status="unknown", workers=0)
        return Components(redis="down", processor=unknown, uploader=unknown)
    return Components(
        redis="up",
        processor=_workers(workers.get("processor", [])),
        uploader=_workers(workers.get("uploader", [])),
    )


def _workers(seen: Sequence[dict[str, str]]) -> WorkerHealth:
    """How many, and their facts; where workers differ, as during an upgrade, all values of a fact."""
    facts: dict[str, set[str]] = {}
    for worker in seen:
        for name in worker.keys() - {"name"}:  # host name and process id are nobody's business
            facts.setdefault(name, set()).add(worker[name])
    joined = {name: ", ".join(sorted(values)) for name, values in sorted(facts.items())}
    return WorkerHealth(**joined, status="up" if seen else "down", workers=len(seen))
