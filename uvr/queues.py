"""The service's three queues: tasks wait for a processor, results for an uploader, webhooks for their delivery.

All three share the task queue's records, so whichever step a task is in, its state is in one place.
"""

from __future__ import annotations

from dataclasses import dataclass

from config import Settings
from redis_queue import RedisQueue
from uvr.redis_clients import RedisClients
from uvr.tasks import TaskStore


@dataclass(frozen=True)
class Queues:
    """The three queues, and the store of the tasks that pass through them."""

    tasks: RedisQueue
    results: RedisQueue
    webhooks: RedisQueue
    store: TaskStore


def open_queues(settings: Settings, clients: RedisClients) -> Queues:
    """The queues of this configuration; opens no connection."""

    def queue(name: str) -> RedisQueue:
        return RedisQueue(
            clients.commands,
            name,
            records=settings.redis_task_queue,
            blocking_client=clients.blocking,
            lease_ms=round(settings.lease_seconds * 1000),
            max_wait_s=settings.priority_max_wait_seconds,
        )

    tasks = queue(settings.redis_task_queue)
    return Queues(
        tasks=tasks,
        results=queue(settings.redis_result_queue),
        webhooks=queue(settings.redis_webhook_queue),
        store=TaskStore(clients.commands, tasks),
    )
