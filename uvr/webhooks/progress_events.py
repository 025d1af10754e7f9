"""What a receiver hears of a task before it ends, if its client asked for it: that it has started, and how far it is.

News is worth little once it is old, so it is sent once, and not at all where the receiver is busy; the webhook of the
end always comes. News waits in the webhook queue behind all of these, at most one piece of a kind for each task, under
an item of its own: `{task_uuid}.started`, `{task_uuid}.progress`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from redis import RedisError

from uvr.tasks.model import Task
from uvr.tasks.queues import Queues

log = structlog.get_logger()

STARTED, PROGRESS = "started", "progress"

_PROGRESS_EVERY_S = 5.0
_LOWEST_PRIORITY = 1


def send(queues: Queues, task: Task, event: str) -> None:
    """Send news of this kind, if the task has a receiver who wants it. Never fails for an absent Redis."""
    if not task.hook_url or event not in task.callback_events:
        return
    try:
        queues.webhooks.enqueue(f"{task.task_uuid}.{event}", _LOWEST_PRIORITY)
    except RedisError as error:
        log.debug("news.not_told", news=event, error=str(error))


def progress_reporter(queues: Queues, task: Task) -> Callable[[], None]:
    """To be called whenever there is progress: tells of it every few seconds."""
    told_at = time.monotonic()

    def send_progress() -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _PROGRESS_EVERY_S:
            told_at = time.monotonic()
            send(queues, task, PROGRESS)

    return send_progress
