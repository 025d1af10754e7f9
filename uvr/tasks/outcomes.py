"""The end of a task: its final record, written in the same step that queues its webhook.

Every task passes through the webhook queue, whether or not it has a hook, so the step that ends it need not find out.
A task that was retried ends again, with a webhook of its own; the queue drops what is left of the earlier webhook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from redis_queue import NOW
from uvr.errors import UvrError
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.worker.outcome import Done


def succeeded(
    broker: Broker, task: Task, stems: Mapping[str, str], *, store_s: float, afterwards: Callable[[], None]
) -> Done:
    """The stems of `task` are stored, which took `store_s` seconds; `stems` maps their names to object keys."""
    final = record(
        status=Status.SUCCESS,
        progress=1.0,
        stems=dict(stems),
        facts={**task.facts, "store_s": round(store_s, 3)},
        error_message="",
        finished_ms=NOW,
        webhook=WebhookState.PENDING if task.hook_url else WebhookState.NONE,
        webhook_step=0,
    )
    return Done(final, next_queue=broker.webhooks, afterwards=afterwards)


def failed(broker: Broker, error: UvrError) -> Done:
    """The task has failed for good; clients read the message of `error`."""
    final = record(status=Status.FAILED, error_message=error.message, finished_ms=NOW, webhook_step=0)
    return Done(final, next_queue=broker.webhooks)
