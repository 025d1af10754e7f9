"""The service's queues: tasks wait for a processor, results for an uploader, webhooks for their delivery.

Stems lie on the disk of the node that made them, so each node has a result queue of its own; tasks and webhooks are
everybody's. All queues share the task queue's records, so whichever step a task is in, its state is in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis

from config import Settings
from redis_queue import RedisQueue
from uvr.redis.clients import RedisClients
from uvr.storage.upload_index import UploadIndex
from uvr.tasks.durations import RecentDurations
from uvr.tasks.result_cache import ResultCache
from uvr.tasks.store import TaskStore


@dataclass(frozen=True)
class Queues:
    """The queues that a process works with, `results` being its own node's, and what else is known of their tasks."""

    tasks: RedisQueue
    results: RedisQueue
    webhooks: RedisQueue
    store: TaskStore
    pace: RecentDurations
    uploads: UploadIndex
    repeats: ResultCache


def open_queues(settings: Settings, clients: RedisClients) -> Queues:
    """The queues of this configuration; opens no connection."""
    tasks = _queue(settings, clients, settings.redis_task_queue)
    return Queues(
        tasks=tasks,
        results=open_result_queue(settings, clients, settings.node_id),
        webhooks=_queue(settings, clients, settings.redis_webhook_queue),
        store=TaskStore(clients.commands, tasks, max_waiting=settings.max_waiting_tasks_per_user),
        pace=RecentDurations(clients.commands, settings.redis_task_queue),
        uploads=UploadIndex(clients.commands, settings.redis_task_queue),
        repeats=ResultCache(clients.commands, settings.redis_task_queue, settings.cache_ttl_hours * 3600),
    )


def open_result_queue(settings: Settings, clients: RedisClients, node_id: str) -> RedisQueue:
    """The result queue of a node; "" for the workers that share one disk without a NODE_ID."""
    # Not ":", which separates a queue's own keys: a node named "lease" would write into the plain queue's leases.
    name = f"{settings.redis_result_queue}@{node_id}" if node_id else settings.redis_result_queue
    return _queue(settings, clients, name)


def _queue(settings: Settings, clients: RedisClients, name: str) -> RedisQueue:
    return RedisQueue(
        clients.commands,
        name,
        records=settings.redis_task_queue,
        blocking_client=clients.blocking,
        lease_ms=round(settings.lease_seconds * 1000),
        max_wait_s=settings.priority_max_wait_seconds,
    )


def known_node_ids(client: Redis, records: str) -> list[str]:
    """The nodes whose result queues may hold something, "" for the workers without a NODE_ID, in alphabetical order."""
    members: Any = client.zrange(f"{records}:nodes", 0, -1)
    return sorted({member.partition(":")[2] for member in members})
