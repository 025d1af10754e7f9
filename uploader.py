"""Entry point 3: stores finished stems, delivers webhooks, and removes what is no longer needed.

`python uploader.py` runs one uploader in the foreground until SIGTERM. Results and webhooks are two queues, each with
several threads of its own, so that neither a slow storage nor an unreachable receiver delays anything else.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # explains the set-up when a package is missing

import sys
from functools import partial

import structlog

from config import Settings, refuse_to_start
from uvr.errors import PermanentError
from uvr.liveness.disks import disks_fact
from uvr.liveness.process import WorkerProcess
from uvr.storage.availability import StorageAvailability
from uvr.storage.base import Storage
from uvr.storage.factory import open_storage
from uvr.storage.link_key import LinkKey
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.uploader.handler import StoreHandler
from uvr.uploader.housekeeping.runner import Housekeeping
from uvr.webhooks.delivery import is_plain, signing_key
from uvr.webhooks.handler import WebhookHandler
from uvr.worker.admission import Admission
from uvr.worker.pool import run_until_stopped
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.worker import Worker

log = structlog.get_logger()


def main() -> int:
    """Run one uploader until it is stopped; returns 1 when a worker died, exits with 2 for a wrong setting."""
    process = WorkerProcess("uploader")
    settings, broker = process.settings, process.broker
    check_webhook_secret(settings.webhook_secret.get_secret_value())
    if settings.link_warning:
        log.warning("links.lead_here", error=settings.link_warning)

    storage = open_storage(settings, LinkKey(broker.client, broker.root))
    availability = StorageAvailability(storage)
    uploads = Uploads(settings, broker.uploads)
    workers = build_workers(settings, broker, storage, availability, uploads)
    housekeeping = Housekeeping(settings, broker, storage, uploads)
    facts = {"storage": storage.kind, "node": settings.node_id}
    log.info("uploader.ready", **facts)

    presence = process.presence(
        facts,
        paused=lambda: availability.problem,
        retention=lambda: housekeeping.problem,
        disks=lambda: disks_fact(settings, "TEMP_DIR", "OUTPUT_DIR"),
    )
    with (
        availability.watching(on_change=presence.announce),
        process.announced(presence),
        housekeeping.running(on_change=presence.announce),
    ):
        healthy = run_until_stopped(workers, settings.shutdown_grace_seconds)
    process.clients.close()
    return 0 if healthy else 1


def check_webhook_secret(secret: str) -> None:
    """Exit with status 2 if `secret` cannot sign; warn if most receivers' libraries would decode it differently."""
    try:
        signing_key(secret)
    except PermanentError as error:
        refuse_to_start([f"WEBHOOK_SECRET: {error.message}"])
    if is_plain(secret):
        log.warning("webhook.secret_is_plain", setting="WEBHOOK_SECRET")


def build_workers(
    settings: Settings, broker: Broker, storage: Storage, availability: StorageAvailability, uploads: Uploads
) -> list[Worker]:
    """UPLOAD_THREADS workers that store results, and WEBHOOK_THREADS workers that deliver webhooks.

    `availability` watches `storage`; while it sees a problem, no results are claimed.
    """
    retry_policy = RetryPolicy(
        max_failures=None,  # an unavailable storage comes back; the stems wait on disk
        # Nothing is computed here: when this process is killed, none of the dozen items in work is to blame.
        max_crashes=sys.maxsize,
        retry_base_s=settings.retry_base_seconds,
        retry_max_s=settings.retry_max_seconds,
    )
    worker = partial(Worker, retry_policy=retry_policy, heartbeat_s=settings.heartbeat_seconds)
    store, webhook = (
        StoreHandler(settings, broker, storage, availability, uploads),
        WebhookHandler(settings, broker, storage),
    )
    storage_admission = Admission(lambda: availability.problem)
    return [
        *(
            worker(f"store-{number}", broker.results, store, admission=storage_admission)
            for number in range(settings.upload_threads)
        ),
        *(worker(f"webhook-{number}", broker.webhooks, webhook) for number in range(settings.webhook_threads)),
    ]


if __name__ == "__main__":
    sys.exit(main())
