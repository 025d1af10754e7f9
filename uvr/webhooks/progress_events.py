"""Progress events: what a receiver learns about a task before its end, if its client asked for it.

A late progress event is of little use. So each is sent once, without retries, and not at all when the receiver is busy;
the webhook at the end of the task always comes. Progress events wait in the webhook queue behind all final webhooks,
at most one of each kind per task, as items of their own: `{task_uuid}.started`, `{task_uuid}.progress`.

A receiver is sent the events of a task one after the other, the end last. While an event is being sent, its item is
leased, and every uploader sees that lease. The end waits for it, which takes at most WEBHOOK_TIMEOUT_SECONDS, or
LEASE_SECONDS if that uploader dies. An event is not sent at all once the task has ended, nor while what it follows is
still being sent. No step comes in between: an uploader claims an event before it reads whether the task has ended, and
the end is queued when the task has ended.
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


def is_end_blocked(broker: Broker, task: Task) -> bool:
    """Whether the end of `task` must wait, because one of its progress events is being sent."""
    asked_for = [event for event in (STARTED, PROGRESS) if event in task.callback_events]
    return any(broker.webhooks.holder(_item(task, event)) is not None for event in asked_for)


def is_overtaken(broker: Broker, task: Task, event: str) -> bool:
    """Whether `event` must not be sent: `task` has ended, or its end or an earlier event is being sent."""
    if task.status.is_final or broker.webhooks.holder(task.task_uuid) is not None:
        return True
    return event == PROGRESS and broker.webhooks.holder(_item(task, STARTED)) is not None


def send(broker: Broker, task: Task, event: str) -> None:
    """Queue this event if the task has a receiver that asked for it. Does not raise when Redis is down."""
    if not task.hook_url or event not in task.callback_events:
        return
    try:
        broker.webhooks.enqueue(_item(task, event), _MIN_PRIORITY)
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


def _item(task: Task, event: str) -> str:
    return f"{task.task_uuid}.{event}"
