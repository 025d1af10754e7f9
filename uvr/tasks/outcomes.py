"""How a task ends: the final record, written in the same step that sends its webhook on its way.

A task passes through the webhook queue whether or not a hook was asked for: the step that ends it need not know, and so
cannot fail for want of knowing. A task that was brought back ends again, with a webhook of its own; what was left of
the schedule of an earlier one is dropped by the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uvr.errors import UvrError
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.timestamps import now_ms
from uvr.worker.outcome import Done


def succeeded(
    broker: Broker, task: Task, stems: Mapping[str, str], *, store_s: float, afterwards: Callable[[], None]
) -> Done:
    """The stems of `task` are stored, which took `store_s`: `stems` maps their names to object keys."""
    final = record(
        status=Status.SUCCESS,
        progress=1.0,
        stems=dict(stems),
        facts={**task.facts, "store_s": round(store_s, 3)},
        error_message="",
        finished_ms=now_ms(),
        webhook=WebhookState.PENDING if task.hook_url else WebhookState.NONE,
        webhook_step=0,
    )
    return Done(final, next_queue=broker.webhooks, afterwards=afterwards)


def failed(broker: Broker, error: UvrError) -> Done:
    """No further try is made; the message is for the client."""
    final = record(status=Status.FAILED, error_message=error.message, finished_ms=now_ms(), webhook_step=0)
    return Done(final, next_queue=broker.webhooks)
