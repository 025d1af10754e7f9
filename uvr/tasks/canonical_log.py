"""What the log tells of a task: which request brought it, in every line, and all that is known of it in one at its end.

That one, `task.ended`, is written by the uploader that first looks at the task's webhook, hook or no hook, or by the
API for a task that was cancelled. It comes once for each end of a task, and a second time only if the uploader is
killed right behind it.
"""

from __future__ import annotations

from typing import Any

import structlog

from uvr.metrics.definitions import TASK_QUEUED_SECONDS, TASK_SECONDS, TASKS_ENDED
from uvr.tasks.model import Task, WebhookState

log = structlog.get_logger()


def log_request_of(task: Task) -> None:
    """Let every line of this thread name the request that brought the task, until its claim is over."""
    if task.request_id:
        structlog.contextvars.bind_contextvars(request_id=task.request_id)


def log_task_end(task: Task, webhook: WebhookState) -> None:
    """One line with all that is known of a task that has ended; `webhook` says how far its webhook is by now."""
    total_s, queued_s = _seconds(task.created_ms, task.finished_ms), _seconds(task.created_ms, task.started_ms)
    facts: dict[str, Any] = {
        "task_uuid": task.task_uuid,
        "request_id": task.request_id,
        "owner": task.owner,
        "status": task.status.value,
        "error": task.error_message,
        "priority": task.priority,
        "attempts": task.attempt,
        "losses": task.losses,
        "revivals": task.revivals,
        "node": task.node,
        "total_s": total_s,
        "queued_s": queued_s if task.started_ms else None,
        **task.facts,
        "webhook": webhook.value,
    }
    log.info("task.ended", **{name: fact for name, fact in facts.items() if fact not in (None, "", [])})
    TASKS_ENDED.add(status=task.status.value)
    TASK_SECONDS.observe(total_s, status=task.status.value)
    if task.started_ms:
        TASK_QUEUED_SECONDS.observe(queued_s)


def _seconds(from_ms: int, until_ms: int) -> float:
    """The clocks of two machines may differ; nothing takes less than no time."""
    return max(0, until_ms - from_ms) / 1000
