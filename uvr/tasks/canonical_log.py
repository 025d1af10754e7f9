"""The log lines of a task: every line names the request that submitted it, and one line at its end says everything.

That line, `task.ended`, is written by the uploader when it first handles the task's webhook, whether or not there is a
hook, or by the API for a task that was cancelled. It comes once for each end of a task; only if the uploader is killed
right after it, it may come a second time.
"""

from __future__ import annotations

from typing import Any

import structlog

from uvr.metrics.definitions import TASK_QUEUED_SECONDS, TASK_SECONDS, TASKS_ENDED
from uvr.tasks.model import Task, WebhookState

log = structlog.get_logger()


def bind_request_id(task: Task) -> None:
    """Add the id of the request that submitted `task` to every log line of this thread, until its claim is over."""
    if task.request_id:
        structlog.contextvars.bind_contextvars(request_id=task.request_id)


def log_task_end(task: Task, webhook: WebhookState) -> None:
    """Write the one line about a task that has ended, and count it; `webhook` is the state of its webhook by now."""
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
        "preset": task.preset,
        "webhook": webhook.value,
    }
    log.info("task.ended", **{name: fact for name, fact in facts.items() if fact not in (None, "", [])})
    TASKS_ENDED.add(status=task.status.value)
    TASK_SECONDS.observe(total_s, status=task.status.value)
    if task.started_ms:
        TASK_QUEUED_SECONDS.observe(queued_s)


def _seconds(from_ms: int, until_ms: int) -> float:
    """The time between, at least 0: the clocks of two machines may differ."""
    return max(0, until_ms - from_ms) / 1000
