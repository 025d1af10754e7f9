"""Front door 3: stores finished stems, delivers webhooks, and cleans up behind both.

`python uploader.py` runs one uploader in the foreground until SIGTERM. Results and webhooks are two queues with threads
of their own, several for each, so that neither a slow storage nor a dead receiver keeps anything else waiting.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up where a package is missing

import sys
from collections.abc import Mapping
from functools import cache

import structlog

from config import Settings, SettingsError, load_settings, refuse_to_start
from redis_queue import RedisQueue
from uvr import logs
from uvr.environment.variables_without_effect import log_variables_without_effect
from uvr.errors import PermanentError
from uvr.liveness.nodes import Node
from uvr.liveness.workers import WorkerPresence
from uvr.metrics.aggregation import Totals
from uvr.redis.clients import connect
from uvr.redis.durability import durability_logged
from uvr.redis.requirements import check_redis_at_start
from uvr.storage.availability import StorageAvailability
from uvr.storage.base import Storage
from uvr.storage.factory import open_storage
from uvr.storage.link_key import link_key
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.uploader.handler import StoreHandler
from uvr.uploader.housekeeping.runner import Housekeeping
from uvr.webhooks import delivery
from uvr.webhooks.handler import WebhookHandler
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import run_until_stopped
from uvr.worker.worker import Admission, Handler, Worker

log = structlog.get_logger()


def main() -> int:
    """Run one uploader until it is told to stop; 1 when a worker died, exits with 2 for faulty settings."""
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format, process="uploader")
    log_variables_without_effect()
    try:
        clients = connect(settings)
        check_redis_at_start(clients, settings)
        check_webhook_secret(settings.webhook_secret.get_secret_value())
    except SettingsError as error:
        refuse_to_start(error.faults)
    except PermanentError as error:
        refuse_to_start([f"WEBHOOK_SECRET: {error.message}"])
    broker = Broker(settings, clients)
    storage = open_storage(settings, cache(lambda: link_key(broker.client, broker.root)))
    if settings.link_warning:
        log.warning("links.lead_here", error=settings.link_warning)
    watch = StorageAvailability(storage)
    uploads = Uploads(settings, broker.uploads)
    workers = workers_of(settings, broker, storage, watch, uploads)
    facts = {"storage": storage.kind, "node": settings.node_id}
    log.info("uploader.ready", **facts)

    def facts_now() -> Mapping[str, str]:
        return {**facts, "paused": watch.problem}

    presence = WorkerPresence(broker.client, broker.root, "uploader", facts_now)
    housekeeping = Housekeeping(settings, broker, storage, uploads)
    with (
        watch.watching(on_change=presence.announce),
        presence.announced(),
        Node(settings, broker, "uploader").heard(),
        housekeeping.going_on(),
        durability_logged(clients, broker.root),
        Totals(broker.client, broker.root).sending(),
    ):
        healthy = run_until_stopped(workers, settings.shutdown_grace_seconds)
    clients.close()
    return 0 if healthy else 1


def check_webhook_secret(secret: str) -> None:
    """Warn of a secret that most receivers' libraries read otherwise; `PermanentError` for one that cannot sign."""
    delivery.signing_key(secret)
    if delivery.is_plain(secret):
        log.warning("webhook.secret_is_plain", setting="WEBHOOK_SECRET")


def workers_of(
    settings: Settings, broker: Broker, storage: Storage, watch: StorageAvailability, uploads: Uploads
) -> list[Worker]:
    """UPLOAD_THREADS workers that store results while the storage takes any, and WEBHOOK_THREADS that deliver webhooks.

    `watch` watches `storage`.
    """
    limits = RetryPolicy(
        max_failures=None,  # a storage that is away comes back; the stems wait on disk
        # Whoever kills this process kills it over a dozen items at once, and none of them is to blame.
        max_crashes=sys.maxsize,
        retry_base_s=settings.retry_base_seconds,
        retry_max_s=settings.retry_max_seconds,
    )

    def several(
        name: str, count: int, queue: RedisQueue, handler: Handler, admission: Admission | None = None
    ) -> list[Worker]:
        beat_s = settings.heartbeat_seconds
        return [
            Worker(f"{name}-{number}", queue, handler, limits=limits, heartbeat_s=beat_s, admission=admission)
            for number in range(count)
        ]

    storing = StoreHandler(settings, broker, storage, watch, uploads)
    delivering = WebhookHandler(settings, broker, storage)
    return [
        *several("store", settings.upload_threads, broker.results, storing, watch),
        *several("webhook", settings.webhook_threads, broker.webhooks, delivering),
    ]


if __name__ == "__main__":
    sys.exit(main())
