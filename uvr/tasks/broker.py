"""What Redis holds about tasks: the queues, the tasks' records, and the indexes around them. One per process.

Tasks wait for a processor, results for an uploader, webhooks for their delivery. Stems lie on the disk of the node that
made them, so each node has a result queue of its own; all nodes share the queues of tasks and webhooks. Every queue
keeps its records under `root`, the name of the task queue, so the state of a task is in one place at every step.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from config import Settings
from redis_queue import RedisQueue
from uvr.redis.clients import RedisClients
from uvr.storage.stray_stems import StrayStems
from uvr.storage.upload_index import UploadIndex
from uvr.tasks.durations import RecentDurations
from uvr.tasks.result_cache import ResultCache
from uvr.tasks.store import TaskStore

Kind = Literal["tasks", "results", "webhooks"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of queues, in the order in which a task passes through them."""


class Broker:
    """The queues of this configuration, `results` being that of its own node. Opens no connection by itself."""

    def __init__(self, settings: Settings, clients: RedisClients) -> None:
        self._settings = settings
        self._clients = clients
        self.client = clients.commands
        self.root = settings.redis_task_queue
        """The prefix of every key that belongs to no queue: records, indexes, workers, metrics."""
        self.node_id = settings.node_id
        self.tasks = self._queue(
            self.root, max_running=settings.max_running_tasks_per_user, max_overtakes=settings.model_stickiness
        )
        self.results = self.result_queue(settings.node_id)
        self.webhooks = self._queue(settings.redis_webhook_queue)
        self.uploads = UploadIndex(self.client, self.root)
        self.strays = StrayStems(self.client, self.root)
        self.store = TaskStore(self.client, self.tasks, max_waiting=settings.waiting_tasks_limit)
        self.durations = RecentDurations(self.client, self.root)
        self.result_cache = ResultCache(self.client, self.root, settings.cache_ttl_hours * 3600)

    def result_queue(self, node_id: str) -> RedisQueue:
        """The result queue of a node; "" for the workers that share one disk without a NODE_ID."""
        # Not ":", which separates a queue's own keys: a node named "lease" would write into the plain queue's leases.
        name = self._settings.redis_result_queue
        return self._queue(f"{name}@{node_id}" if node_id else name)

    def node_ids(self) -> list[str]:
        """The nodes whose result queues may hold something, in alphabetical order; "" for workers without a NODE_ID.

        May raise `redis.RedisError`.
        """
        members: Any = self.client.zrange(f"{self.root}:nodes", 0, -1)
        return sorted({member.partition(":")[2] for member in members})

    def all_queues(self) -> list[tuple[Kind, str, RedisQueue]]:
        """Every queue with its kind and, for results, its node ("" for none). May raise `redis.RedisError`."""
        nodes = sorted({"", self.node_id, *self.node_ids()})
        results: list[tuple[Kind, str, RedisQueue]] = [("results", node, self.result_queue(node)) for node in nodes]
        return [("tasks", "", self.tasks), *results, ("webhooks", "", self.webhooks)]

    def _queue(self, name: str, *, max_running: int = 0, max_overtakes: int = 0) -> RedisQueue:
        return RedisQueue(
            self._clients.commands,
            name,
            root=self.root,
            blocking_client=self._clients.blocking,
            lease_ms=round(self._settings.lease_seconds * 1000),
            max_wait_s=self._settings.priority_max_wait_seconds,
            max_running=max_running,
            max_overtakes=max_overtakes,
        )
