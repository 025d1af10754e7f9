"""GET /health: whether tasks are accepted (Redis); GET /ready: whether they would be worked on, too.

Neither needs credentials. /health is for whoever restarts what is broken: missing workers are no reason to restart the
API. /ready is for whoever asks whether to send work, or why nothing happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import structlog
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from redis import RedisError, ResponseError

from uvr.api.responses import answer
from uvr.api.schemas.responses import Components, Health, PartReadiness, PartsReadiness, Readiness, WorkerHealth
from uvr.api.services import services
from uvr.liveness.workers import live_workers
from uvr.redis.requirements import UnsuitableRedisError, check_redis
from uvr.tasks.model import time_stamp

log = structlog.get_logger()

health = APIBlueprint("health", __name__)

_TAKES_NONE = "Redis takes no writes: it is full, read-only or cannot save."
_IS_AWAY = "Redis does not answer, or is still starting."


@health.get("/health", responses={200: Health, 503: Health})
def show_health() -> Response:
    """Tell whether tasks are accepted.

    503 only while Redis is gone: without workers tasks are still taken, and wait.
    """
    components = _components()
    healthy = components.redis == "up"
    report = Health(status="healthy" if healthy else "unhealthy", **time_stamp(), components=components)
    return answer(report, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)


@health.get("/ready", responses={200: Readiness, 503: Readiness})
def show_readiness() -> Response:
    """Tell whether a task that came now would be accepted and worked on.

    503 while Redis is gone or takes no writes, and while there is no processor or no uploader that is not paused; the
    component at fault says why.
    """
    components = _parts()
    ready = all(part.status == "up" for part in (components.redis, components.processor, components.uploader))
    report = Readiness(status="ready" if ready else "not ready", **time_stamp(), components=components)
    return answer(report, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _components() -> Components:
    try:
        workers = live_workers(services().clients.commands, services().settings.redis_task_queue)
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
    nodes = len(facts.pop("node", ()))  # and neither are the names of nodes
    joined = {name: ", ".join(sorted(values)) for name, values in sorted(facts.items())}
    count = {"nodes": nodes} if nodes else {}
    return WorkerHealth(**joined, **count, status="up" if seen else "down", workers=len(seen))


def _parts() -> PartsReadiness:
    redis = _redis_readiness()
    try:
        workers = live_workers(services().clients.commands, services().settings.redis_task_queue)
    except RedisError:
        unknown = PartReadiness(status="unknown", message="Who is at work is not known while Redis is away.")
        return PartsReadiness(redis=redis, processor=unknown, uploader=unknown)
    return PartsReadiness(
        redis=redis,
        processor=_worker_readiness("processor", workers.get("processor", [])),
        uploader=_worker_readiness("uploader", workers.get("uploader", [])),
    )


def _redis_readiness() -> PartReadiness:
    try:
        check_redis(services().clients, services().settings)
    except UnsuitableRedisError as error:
        log.critical("redis.unsuitable", error=str(error))
        return PartReadiness(status="down", message=error.sentence)
    except RedisError as error:
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        return PartReadiness(status="down", message=_TAKES_NONE if isinstance(error, ResponseError) else _IS_AWAY)
    return PartReadiness(status="up", message=None)


def _worker_readiness(kind: str, seen: Sequence[dict[str, str]]) -> PartReadiness:
    """Up as long as one of them works; what keeps the others from it is told all the same."""
    reasons = [worker["paused"] for worker in seen if "paused" in worker]
    told = " ".join(sorted(set(reasons)))
    if not seen:
        return PartReadiness(status="down", message=f"No {kind} runs; tasks are kept until one does.")
    if len(reasons) == len(seen):
        return PartReadiness(status="paused", message=told)
    return PartReadiness(status="up", message=f"{len(reasons)} of {len(seen)} paused. {told}" if reasons else None)
