"""Front door 2: claims tasks, fetches their audio, separates it, and hands the stems over to the uploader.

`python processor.py` runs one processor in the foreground until SIGTERM. It works on up to three tasks at once, of
which one is in the network (`uvr.processor.scheduler`). Decoders and network live in warm child processes, so that a
song which crashes one costs one attempt of one task, and this process itself stays small.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up where a package is missing

import sys
from collections.abc import Mapping

import structlog

from config import Settings, SettingsError, load_settings, refuse_to_start
from uvr import logs
from uvr.disk import DiskSpace
from uvr.environment.variables_without_effect import log_variables_without_effect
from uvr.errors import UvrError
from uvr.liveness.nodes import Node
from uvr.liveness.workers import Uploaders, WorkerPresence
from uvr.metrics.aggregation import Totals
from uvr.processor.handler import SeparationHandler
from uvr.processor.scheduler import THREADS, InferenceScheduler
from uvr.redis.clients import connect
from uvr.redis.durability import durability_logged
from uvr.redis.requirements import check_redis_at_start
from uvr.separation.engine_factory import choose_engine
from uvr.separation.separator import Separator
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, record
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import run_until_stopped
from uvr.worker.worker import Worker

log = structlog.get_logger()


def main() -> int:
    """Run one processor until it is told to stop; 1 when the network cannot be loaded or a worker died."""
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format, process="processor")
    log_variables_without_effect()
    try:
        clients = connect(settings)
        check_redis_at_start(clients, settings)
    except SettingsError as error:
        refuse_to_start(error.faults)
    broker = Broker(settings, clients)
    try:
        separator = _started_separator(settings)
    except UvrError as error:
        log.error("processor.not_started", error=error.message)
        return 1
    facts = {"model": settings.shown_model_name, "provider": separator.provider, "node": settings.node_id}
    log.info("processor.ready", **facts)
    node = Node(settings, broker, "processor")
    disk = DiskSpace({"TEMP_DIR": settings.temp_dir, "OUTPUT_DIR": settings.output_dir}, settings.min_free_bytes)

    uploaders = Uploaders(broker.client, broker.root, settings.node_id)

    def why_paused() -> str:
        return node.why_paused() or disk.shortage() or uploaders.why_paused()

    def told() -> Mapping[str, str]:
        return {**facts, "paused": why_paused()}

    presence = WorkerPresence(broker.client, broker.root, "processor", told)
    turns = InferenceScheduler(broker.tasks, presence.name, why_paused)
    workers = _workers(settings, broker, SeparationHandler(settings, broker, separator, turns), turns)
    with (
        presence.announced(),
        node.heard(),
        durability_logged(clients, broker.root),
        Totals(broker.client, broker.root).sending(),
    ):
        healthy = run_until_stopped(workers, settings.shutdown_grace_seconds)
    separator.close()
    clients.close()
    return 0 if healthy else 1


def _started_separator(settings: Settings) -> Separator:
    build = choose_engine(
        settings.model_name,
        settings.model_file_dir,
        engine=settings.separation_engine,
        base_url=settings.model_base_url,
        threads=settings.inference_threads,
        device=settings.device,
        backend=settings.network_backend,
    )
    separator = Separator(build, log_level=settings.log_level, log_format=settings.log_format)
    separator.start()
    return separator


def _workers(settings: Settings, broker: Broker, handler: SeparationHandler, turns: InferenceScheduler) -> list[Worker]:
    limits = RetryPolicy(
        max_failures=settings.max_attempts,
        max_crashes=settings.max_crashes,
        retry_base_s=settings.retry_base_seconds,
        retry_max_s=settings.retry_max_seconds,
    )
    return [
        Worker(
            f"processor-{number}",
            broker.tasks,
            handler,
            limits=limits,
            heartbeat_s=settings.heartbeat_seconds,
            waiting_record=record(status=Status.QUEUED, progress=0.0),
            admission=turns,
        )
        for number in range(THREADS)
    ]


if __name__ == "__main__":
    sys.exit(main())
