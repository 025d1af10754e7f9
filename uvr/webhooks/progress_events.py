"""Progress events: what a receiver learns about a task before its end, if its client asked for it.

A late progress event is of little use. So each is sent once, without retries, and not at all when the receiver is busy;
the webhook at the end of the task always comes. Progress events wait in the webhook queue behind all final webhooks,
at most one of each kind per task, as items of their own: `{task_uuid}.started`, `{task_uuid}.progress`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from redis import RedisError

from uvr.tasks.broker import Broker
from uvr.tasks.model import Task

log = structlog.get_logger()

STARTED, PROGRESS = "started", "progress"

_PROGRESS_EVERY_S = 5.0
_MIN_PRIORITY = 1


def send(broker: Broker, task: Task, event: str) -> None:
    """Queue this event if the task has a receiver that asked for it. Does not raise when Redis is down."""
    if not task.hook_url or event not in task.callback_events:
        return
    try:
        broker.webhooks.enqueue(f"{task.task_uuid}.{event}", _MIN_PRIORITY)
    except RedisError as error:
        log.debug("news.not_told", news=event, error=str(error))


def progress_reporter(broker: Broker, task: Task) -> Callable[[], None]:
    """A function to call on every progress; it sends a progress event at most every few seconds."""
    sent_at = time.monotonic()

    def report() -> None:
        nonlocal sent_at
        if time.monotonic() - sent_at >= _PROGRESS_EVERY_S:
            sent_at = time.monotonic()
            send(broker, task, PROGRESS)

    return report
