"""GET /health: whether tasks are accepted (Redis). GET /ready: whether they would also be processed.

Neither needs credentials. /health is for a supervisor that restarts broken processes: missing workers are no reason to
restart the API. /ready says whether to send tasks, and why they are not processed.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import structlog
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from redis import RedisError, ResponseError

from uvr.api.responses import json_response
from uvr.api.schemas.responses import Components, Health, PartReadiness, PartsReadiness, Readiness, WorkerHealth
from uvr.api.services import services
from uvr.liveness import disks
from uvr.redis.requirements import UnsuitableRedisError, check_redis
from uvr.timestamps import timestamp_fields

log = structlog.get_logger()

health = APIBlueprint("health", __name__)


@health.get("/health", responses={200: Health, 503: Health})
def show_health() -> Response:
    """Show whether tasks are accepted.

    503 only while Redis is down: without workers, tasks are still accepted and wait.
    """
    try:
        workers = services().workers()
    except RedisError as error:
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        unknown = WorkerHealth(status="unknown", workers=0)
        components = Components(redis="down", processor=unknown, uploader=unknown)
        report = Health(status="unhealthy", **timestamp_fields(), components=components)
        return json_response(report, HTTPStatus.SERVICE_UNAVAILABLE)
    components = Components(
        redis="up",
        processor=_worker_health(workers.get("processor", [])),
        uploader=_worker_health(workers.get("uploader", [])),
    )
    return json_response(Health(status="healthy", **timestamp_fields(), components=components))


def _worker_health(workers: Sequence[dict[str, str]]) -> WorkerHealth:
    """The number of workers and their facts. If workers differ, as during an upgrade, a fact lists all values."""
    facts: dict[str, set[str]] = {}
    for worker in workers:
        for name in worker.keys() - {"name", disks.FACT}:  # host name, process id and disks stay private
            facts.setdefault(name, set()).add(worker[name])
    nodes = len(facts.pop("node", ()))  # and so do the names of nodes
    joined = {name: ", ".join(sorted(values)) for name, values in sorted(facts.items())}
    count = {"nodes": nodes} if nodes else {}
    return WorkerHealth(**joined, **count, status="up" if workers else "down", workers=len(workers))


@health.get("/ready", responses={200: Readiness, 503: Readiness})
def show_readiness() -> Response:
    """Show whether a task submitted now would be accepted and processed.

    503 while Redis is down or accepts no writes, and while there is no processor or no uploader that is not paused. The
    message of the component says why.
    """
    redis, responds = _redis_readiness()
    try:
        workers = services().workers() if responds else None
    except RedisError:
        workers = None
    if workers is None:
        processor = uploader = PartReadiness(
            status="unknown", message="While Redis is down, it is not known which workers run."
        )
    else:
        processor = _worker_readiness("processor", workers.get("processor", []))
        uploader = _worker_readiness("uploader", workers.get("uploader", []))
    components = PartsReadiness(redis=redis, processor=processor, uploader=uploader)
    is_ready = all(part.status == "up" for part in (redis, processor, uploader))
    report = Readiness(status="ready" if is_ready else "not ready", **timestamp_fields(), components=components)
    return json_response(report, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _redis_readiness() -> tuple[PartReadiness, bool]:
    """Whether Redis accepts tasks, and whether it responds at all."""
    try:
        check_redis(services().impatient_clients, services().settings)
    except UnsuitableRedisError as error:
        log.critical("redis.unsuitable", error=str(error))
        return PartReadiness(status="down", message=error.sentence), True
    except RedisError as error:
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        refuses_writes = "Redis accepts no writes: it is full, read-only or cannot save to its disk."
        is_away = "Redis does not respond, or is still starting."
        responds = isinstance(error, ResponseError)
        return PartReadiness(status="down", message=refuses_writes if responds else is_away), responds
    return PartReadiness(status="up", message=None), True


def _worker_readiness(kind: str, workers: Sequence[dict[str, str]]) -> PartReadiness:
    """Up while at least one of the workers runs and is not paused; says why others are paused, or idle.

    That an uploader deletes nothing because of its age is no reason against new tasks, but the operator must learn it.
    """
    if not workers:
        return PartReadiness(status="down", message=f"No {kind} runs; tasks wait until one does.")
    paused = [worker["paused"] for worker in workers if "paused" in worker]
    idle = [worker["idle"] for worker in workers if "idle" in worker and "paused" not in worker]
    kept = _sentences([worker["retention"] for worker in workers if "retention" in worker])
    if len(paused) == len(workers):
        return PartReadiness(status="paused", message=" ".join(filter(None, [_sentences(paused), kept])))
    parts = [
        f"{len(reasons)} of {len(workers)} {state}. {_sentences(reasons)}"
        for state, reasons in (("paused", paused), ("idle", idle))
        if reasons
    ]
    return PartReadiness(status="up", message=" ".join(filter(None, [*parts, kept])) or None)


def _sentences(reasons: Sequence[str]) -> str:
    return " ".join(sorted(set(reasons)))
