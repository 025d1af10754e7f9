"""What an uploader does with a webhook: one delivery attempt, and what follows from it.

Where a webhook stands in its schedule is kept in the task's record, so that it outlives every process. It is sent for a
task that has ended and stays so; a task that was brought back meanwhile has its webhook when it ends again, and one
that was cancelled has none. News of a task that has not ended (uvr/webhooks/progress_events.py) is sent once. No
receiver holds more threads than its share (uvr/webhooks/host_limits.py): a webhook in excess goes back untried.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, replace

import structlog

from config import Settings
from redis_queue import Lease
from uvr.errors import TransientError, UvrError
from uvr.metrics.definitions import WEBHOOK_TRIES
from uvr.net.url_guard import UrlGuard
from uvr.storage.base import Storage
from uvr.tasks.canonical_log import log_request_of, log_task_end
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.tasks.queues import Queues
from uvr.webhooks import delivery
from uvr.webhooks.host_limits import HostLimits
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later

log = structlog.get_logger()

TRIES_KEPT = 40
"""Delivery attempts that a task's record lists, the latest: five whole schedules."""


class WebhookHandler:
    """One delivery attempt of one webhook."""

    def __init__(self, settings: Settings, queues: Queues, storage: Storage) -> None:
        self._settings = settings
        self._queues = queues
        self._storage = storage
        self._guard = UrlGuard(settings.allowed_private_networks, proxy=settings.webhook_proxy.get_secret_value())
        self._host_limits = HostLimits(settings.webhook_threads)

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done | Later:
        """POST the outcome; what the receiver answers decides whether and when there is another attempt."""
        task_uuid, _, event = lease.id.partition(".")
        task = self._queues.store.get(task_uuid)
        if task is None:
            return Done()
        log_request_of(task)
        if event:
            return self._tell_news(task, event)
        if task.status is Status.UNKNOWN:
            raise TransientError("How this task ended is for an uploader of a newer version to tell.")
        if not task.status.is_final or task.status is Status.CANCELLED:
            return Done()
        outcome = self._tell_receiver(task) if task.hook_url else Done()
        return outcome if task.told == task.webhook_id else self._tell_log(task, outcome)

    def _tell_news(self, task: Task, event: str) -> Done:
        """One try and no other: the receiver hears of the end whatever becomes of this."""
        if task.status.is_final or not task.hook_url:
            return Done()
        with self._host_limits.slot(task.hook_url) as pause_s:
            if pause_s:
                return Done()
            payload = delivery.progress_payload(task.task_uuid, event, task.progress)
            attempt = self._post(task, f"{task.task_uuid}.{event}.{secrets.token_hex(8)}", payload)
        log.info("webhook.news", news=event, outcome=attempt.outcome, status_code=attempt.status_code)
        return Done()

    def _tell_log(self, task: Task, outcome: Done | Later) -> Done | Later:
        """What is new in the record of a task that has ended goes into its one line in the log."""
        log_task_end(task, WebhookState(str(outcome.record.get("webhook", task.webhook))))
        return replace(outcome, record={**outcome.record, **record(told=task.webhook_id)})

    def _tell_receiver(self, task: Task) -> Done | Later:
        with self._host_limits.slot(task.hook_url) as pause_s:
            if pause_s:
                return Later(pause_s)
            attempt = self._post(task, task.webhook_id, self._payload(task))
        WEBHOOK_TRIES.add(outcome=attempt.outcome)
        log.info(
            "webhook.tried",
            webhook_id=task.webhook_id,
            outcome=attempt.outcome,
            status_code=attempt.status_code,
            tries=task.webhook_step + 1,
        )
        return self._after(task, attempt)

    def give_up(self, error: UvrError) -> Done:
        """A fault of ours kept the webhook from being sent; the task itself has ended already."""
        return Done(record(webhook=WebhookState.FAILED))

    def _post(self, task: Task, webhook_id: str, payload: dict[str, object]) -> delivery.DeliveryAttempt:
        return delivery.deliver(
            task.hook_url,
            json.dumps(payload, ensure_ascii=False).encode(),
            webhook_id=webhook_id,
            secret=self._settings.webhook_secret.get_secret_value(),
            guard=self._guard,
            timeout_s=self._settings.webhook_timeout_seconds,
            request_id=task.request_id,
            receiver_headers=self._settings.webhook_headers,
        )

    def _after(self, task: Task, attempt: delivery.DeliveryAttempt) -> Done | Later:
        step, pauses_s = task.webhook_step + 1, self._settings.webhook_retry_seconds
        delay_s = delivery.next_delay_s(pauses_s, step, attempt.retry_after_s) if attempt.outcome == "retry" else None
        tried = {"webhook_id": task.webhook_id, **asdict(attempt)}
        told = record(
            webhook=_state(attempt, delay_s),
            webhook_step=step,
            webhook_tries=[*task.webhook_tries, tried][-TRIES_KEPT:],
        )
        return Done(told) if delay_s is None else Later(delay_s, told)

    def _payload(self, task: Task) -> dict[str, object]:
        if task.status == Status.SUCCESS:
            links = {name: self._storage.url(key, self._settings.link_ttl_seconds) for name, key in task.stems.items()}
            return delivery.success_payload(task.task_uuid, links)
        return delivery.failure_payload(task.task_uuid, task.error_message)


def _state(attempt: delivery.DeliveryAttempt, delay_s: float | None) -> WebhookState:
    if attempt.outcome == "delivered":
        return WebhookState.DELIVERED
    return WebhookState.FAILED if delay_s is None else WebhookState.PENDING
