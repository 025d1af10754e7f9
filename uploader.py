"""Front door 3: stores finished stems, delivers webhooks, and cleans up behind both.

`python uploader.py` runs one uploader in the foreground until SIGTERM. Results and webhooks are two queues with threads
of their own, so a dead receiver never keeps stems from being stored. Local stems are deleted only after the queue has
taken note that they are stored.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import cache

import structlog

from config import Settings, SettingsError, load_settings, refuse_to_start
from redis_queue import Lease, RedisQueue
from uvr import handover, logs, webhooks
from uvr.endings import failed, succeeded
from uvr.errors import PermanentError, UvrError
from uvr.link_key import link_key
from uvr.presence import Presence
from uvr.queues import Queues, open_queues
from uvr.redis_clients import connect
from uvr.storage.base import Storage
from uvr.storage.content_types import content_type
from uvr.storage.factory import open_storage
from uvr.tasks import Status, Task, WebhookState, record
from uvr.url_guard import UrlGuard
from uvr.worker import Done, Handler, Later, Limits, Pulse, Worker, run_until_stopped

log = structlog.get_logger()


class StoreHandler:
    """One result: stems from the handover folder into the storage."""

    def __init__(self, settings: Settings, queues: Queues, storage: Storage) -> None:
        self._settings = settings
        self._queues = queues
        self._storage = storage

    def handle(self, lease: Lease, pulse: Pulse) -> Done:
        """Store every stem; safe to repeat, because a stem's key does not depend on the try."""
        task = self._queues.store.get(lease.id)
        if task is None:
            return Done()  # deleted meanwhile
        stems = handover.stems_of(self._settings.output_dir, task.handover)
        if not stems:
            raise PermanentError(
                "The finished stems are no longer on the disk of the node that made them; retry the task."
            )
        keys: dict[str, str] = {}
        for name, path in stems.items():
            key = f"{self._settings.s3_key_prefix}{task.task_uuid}_{name}{path.suffix}"
            self._storage.put(path, key, content_type(path.name))
            keys[name] = key
            pulse.beat()
        log.info("task.stored", stems=len(keys), storage=self._storage.kind)
        return succeeded(
            self._queues, keys, afterwards=lambda: handover.remove(self._settings.output_dir, task.handover)
        )

    def give_up(self, error: UvrError) -> Done:
        """The stems stay on disk, for an operator to mend the storage and bring the dead letter back."""
        return failed(self._queues, error)


class WebhookHandler:
    """One delivery attempt of one webhook; the schedule of attempts is kept in the task's record."""

    def __init__(self, settings: Settings, queues: Queues, storage: Storage) -> None:
        self._settings = settings
        self._queues = queues
        self._storage = storage
        self._guard = UrlGuard(settings.allowed_private_networks)

    def handle(self, lease: Lease, pulse: Pulse) -> Done | Later:
        """POST the outcome; what the receiver answers decides whether and when there is another attempt."""
        task = self._queues.store.get(lease.id)
        if task is None or not task.hook_url:
            return Done()
        attempt = webhooks.deliver(
            task.hook_url,
            json.dumps(self._payload(task), ensure_ascii=False).encode(),
            webhook_id=f"{task.task_uuid}.{task.status}",
            secret=self._settings.webhook_secret.get_secret_value(),
            guard=self._guard,
            timeout_s=self._settings.webhook_timeout_seconds,
        )
        tries = [*task.webhook_tries, asdict(attempt)]
        log.info("webhook.tried", outcome=attempt.outcome, status_code=attempt.status_code, tries=len(tries))
        return self._next(attempt, tries)

    def give_up(self, error: UvrError) -> Done:
        """A fault of ours kept the webhook from being sent; the task itself has ended already."""
        return Done(record(webhook=WebhookState.FAILED))

    def _next(self, attempt: webhooks.DeliveryAttempt, tries: list[dict[str, object]]) -> Done | Later:
        if attempt.outcome == "delivered":
            return Done(record(webhook=WebhookState.DELIVERED, webhook_tries=tries))
        delay_s = webhooks.next_delay_s(len(tries), attempt.retry_after_s) if attempt.outcome == "retry" else None
        if delay_s is None:
            return Done(record(webhook=WebhookState.FAILED, webhook_tries=tries))
        return Later(delay_s, record(webhook_tries=tries))

    def _payload(self, task: Task) -> dict[str, object]:
        if task.status == Status.SUCCESS:
            links = {name: self._storage.url(key, self._settings.link_ttl_seconds) for name, key in task.stems.items()}
            return webhooks.success_payload(task.task_uuid, links)
        return webhooks.failure_payload(task.task_uuid, task.error_message)


def main() -> int:
    """Run one uploader until it is told to stop; 1 when a worker died, exits with 2 for faulty settings."""
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format, process="uploader")
    try:
        clients = connect(settings)
        webhooks.signing_key(settings.webhook_secret.get_secret_value())
    except SettingsError as error:
        refuse_to_start(error.faults)
    except PermanentError as error:
        refuse_to_start([f"WEBHOOK_SECRET: {error.message}"])
    storage = open_storage(settings, cache(lambda: link_key(clients.commands, settings.redis_task_queue)))
    workers = _workers(settings, open_queues(settings, clients), storage)
    facts = {"storage": storage.kind}
    log.info("uploader.ready", **facts)
    with Presence(clients.commands, settings.redis_task_queue, "uploader", facts).announced():
        healthy = run_until_stopped(workers, settings.shutdown_grace_seconds)
    clients.close()
    return 0 if healthy else 1


def _workers(settings: Settings, queues: Queues, storage: Storage) -> list[Worker]:
    limits = Limits(
        max_failures=None,  # a store that is away comes back; the stems wait on disk
        max_crashes=settings.max_crashes,
        retry_base_s=settings.retry_base_seconds,
        retry_max_s=settings.retry_max_seconds,
    )

    def several(name: str, count: int, queue: RedisQueue, handler: Handler) -> list[Worker]:
        return [
            Worker(f"{name}-{number}", queue, handler, limits=limits, heartbeat_s=settings.heartbeat_seconds)
            for number in range(count)
        ]

    return [
        *several("store", settings.upload_threads, queues.results, StoreHandler(settings, queues, storage)),
        *several("webhook", settings.webhook_threads, queues.webhooks, WebhookHandler(settings, queues, storage)),
    ]


if __name__ == "__main__":
    sys.exit(main())
