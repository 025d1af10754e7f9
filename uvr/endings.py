"""How a task ends: the final record, written in the same step that sends its webhook on its way.

A task passes through the webhook queue whether or not a hook was asked for: the step that ends it need not know, and so
cannot fail for want of knowing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uvr.errors import UvrError
from uvr.queues import Queues
from uvr.tasks import Status, now_ms, record
from uvr.worker import Done


def succeeded(queues: Queues, stems: Mapping[str, str], afterwards: Callable[[], None]) -> Done:
    """The stems are stored: `stems` maps their names to object keys."""
    final = record(status=Status.SUCCESS, progress=1.0, stems=dict(stems), error_message="", finished_ms=now_ms())
    return Done(final, next_queue=queues.webhooks, afterwards=afterwards)


def failed(queues: Queues, error: UvrError) -> Done:
    """No further try is made; the message is for the client."""
    final = record(status=Status.FAILED, error_message=error.message, finished_ms=now_ms())
    return Done(final, next_queue=queues.webhooks)
