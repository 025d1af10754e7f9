"""What an uploader does with a webhook: makes one delivery attempt, and decides whether there is another.

The state of the retry schedule is in the task's record, so it survives every process. A webhook is sent for a task that
has ended and has not been retried since: a retried task has its webhook when it ends again, and a cancelled task has
none. A progress event (`uvr.webhooks.progress_events`) is sent once. No receiver and no user occupies more threads than
its share (`uvr.webhooks.thread_shares`); a webhook in excess goes back to the queue without an attempt. A failed
attempt counts as a failure of the item, so the queue puts first attempts before it.
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
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import bind_request_id, log_task_end
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.webhooks import delivery, progress_events
from uvr.webhooks.thread_shares import ThreadShares
from uvr.webhooks.user_secrets import UserSecrets
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later

log = structlog.get_logger()

MAX_ATTEMPTS_KEPT = 40
"""How many delivery attempts a task's record lists, the latest ones: five complete schedules."""

_EVENT_PAUSE_S = 0.5
"""How long the end of a task waits before it looks again whether a progress event is still being sent."""


class WebhookHandler:
    """Handles one webhook: at most one delivery attempt."""

    def __init__(self, settings: Settings, broker: Broker, storage: Storage) -> None:
        self._settings = settings
        self._broker = broker
        self._storage = storage
        self._guard = UrlGuard(
            settings.allowed_private_networks,
            denied=settings.denied_hosts,
            allowed_ports=settings.allowed_ports,
            proxy=settings.webhook_proxy.get_secret_value(),
        )
        self._user_secrets = UserSecrets(broker.client, broker.root)
        self._shares = ThreadShares(settings.webhook_threads, has_users=settings.has_users)

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done | Later:
        """POST the end of a task, or a progress event, to its `hook_url`, and log the end once."""
        task_uuid, _, event = lease.id.partition(".")
        task = self._broker.store.get(task_uuid)
        if task is None:
            return Done()
        bind_request_id(task)
        if event:
            return self._send_progress_event(task, event)
        if task.status is Status.UNKNOWN:
            raise TransientError("A newer version ended this task; only an uploader of that version knows how.")
        if not task.status.is_final or task.status is Status.CANCELLED:
            return Done()
        outcome = self._attempt_delivery(task) if task.hook_url else Done()
        if task.told == task.webhook_id:
            return outcome  # the end has been logged already
        log_task_end(task, WebhookState(str(outcome.record.get("webhook", task.webhook))))
        return replace(outcome, record={**outcome.record, **record(told=task.webhook_id)})

    def give_up(self, error: UvrError) -> Done:
        """Record that a bug kept the webhook from being sent; the task itself has ended already."""
        return Done(record(webhook=WebhookState.FAILED))

    def _send_progress_event(self, task: Task, event: str) -> Done:
        """Make one attempt without retries: the receiver gets the webhook of the end in any case."""
        if not task.hook_url or progress_events.is_overtaken(self._broker, task, event):
            return Done()
        with self._shares.slot(task.owner, task.hook_url) as pause_s:
            if pause_s:
                return Done()
            payload = delivery.progress_payload(task, event)
            attempt = self._post(task, f"{task.task_uuid}.{event}.{secrets.token_hex(8)}", payload)
        log.info("webhook.news", news=event, outcome=attempt.outcome, status_code=attempt.status_code)
        return Done()

    def _attempt_delivery(self, task: Task) -> Done | Later:
        if progress_events.is_end_blocked(self._broker, task):
            return Later(_EVENT_PAUSE_S)
        with self._shares.slot(task.owner, task.hook_url) as pause_s:
            if pause_s:
                return Later(pause_s)
            attempt = self._post(task, task.webhook_id, self._final_payload(task))
        WEBHOOK_TRIES.add(outcome=attempt.outcome)
        step = task.webhook_step + 1
        log.info(
            "webhook.tried",
            webhook_id=task.webhook_id,
            outcome=attempt.outcome,
            status_code=attempt.status_code,
            tries=step,
        )
        delays_s = self._settings.webhook_retry_seconds
        delay_s = delivery.next_delay_s(delays_s, step, attempt.retry_after_s) if attempt.outcome == "retry" else None
        if attempt.outcome == "delivered":
            state = WebhookState.DELIVERED
        else:
            state = WebhookState.FAILED if delay_s is None else WebhookState.PENDING
        attempts = [*task.webhook_tries, {"webhook_id": task.webhook_id, **asdict(attempt)}]
        result = record(
            webhook=state,
            webhook_step=step,
            webhook_tries=attempts[-MAX_ATTEMPTS_KEPT:],
        )
        return Done(result) if delay_s is None else Later(delay_s, result, counts_as="failures")

    def _final_payload(self, task: Task) -> dict[str, object]:
        if task.status == Status.SUCCESS:
            links = {name: self._storage.url(key, self._settings.link_ttl_seconds) for name, key in task.stems.items()}
            return delivery.success_payload(task, links)
        return delivery.failure_payload(task)

    def _post(self, task: Task, webhook_id: str, payload: dict[str, object]) -> delivery.DeliveryAttempt:
        return delivery.deliver(
            task.hook_url,
            json.dumps(payload, ensure_ascii=False).encode(),
            webhook_id=webhook_id,
            secrets=self._secrets(task),
            guard=self._guard,
            timeout_s=self._settings.webhook_timeout_seconds,
            request_id=task.request_id,
            receiver_headers=self._settings.webhook_headers,
        )

    def _secrets(self, task: Task) -> list[str]:
        """What signs the webhooks of the task's owner: the owner's own secrets, or else WEBHOOK_SECRET if it is set."""
        own = self._user_secrets.valid(task.owner) if task.owner else []
        of_service = self._settings.webhook_secret.get_secret_value()
        secrets = [secret.text or of_service for secret in own] or [of_service]
        return [secret for secret in secrets if secret]
