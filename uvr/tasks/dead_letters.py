"""Dead letters: tasks that were given up, and how an operator retries or drops them.

A dead letter stays in the queue in which its task failed: `tasks` when the song could not be fetched or separated,
`results` when its stems could not be stored, `webhooks` when a fault of this service kept its webhook from being sent.
A retry undoes the failure in the task's record. When the task ends again, its webhook starts again, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis_queue import DeadLetter, Limit, RedisQueue
from uvr.tasks.broker import KINDS, Broker, Kind
from uvr.tasks.model import FINAL_STATUSES, Status, Task, WebhookState, record
from uvr.timestamps import iso_time

_PAGE = 100


@dataclass(frozen=True)
class DeadTask:
    """A task that is a dead letter in a queue of the kind `queue`."""

    task_uuid: str
    queue: Kind
    node: str
    """The node whose disk has the stems, for results; "" for the other kinds."""
    buried_at: str | None
    failures: int
    crashes: int
    error_message: str


class DeadLetters:
    """The dead letters of all queues, those of other nodes included. Methods may raise `redis.RedisError`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def all(self, kinds: Sequence[Kind] = KINDS) -> list[DeadTask]:
        """All of these kinds, the newest of each queue first."""
        return self.page(kinds, 0, None)

    def page(self, kinds: Sequence[Kind], start: int, count: int | None) -> list[DeadTask]:
        """At most `count` of `all`, None for any number, after the first `start`."""
        letters = (
            (letter, kind, node)
            for kind in kinds
            for node, queue in self._queues(kind)
            for letter in _letters_in(queue)
        )
        return [self._dead_task(*found) for found in islice(letters, start, None if count is None else start + count)]

    def retry(self, task_uuid: str, kinds: Sequence[Kind] = KINDS, *, limit: Limit | None = None) -> bool:
        """Queue a task again where it failed; False if it is no dead letter of these kinds or its record is gone.

        A failed task repeats only the step that failed; a webhook of its own reports how that ends. Raises
        `LimitReachedError` when the task would wait for a processor and `limit` is reached.
        """
        task = self._broker.store.get(task_uuid)
        return task is not None and any(
            queue.revive(task_uuid, revived_record(task, kind), limit=limit if kind == "tasks" else None)
            for kind in kinds
            for _node, queue in self._queues(kind)
        )

    def drop(self, task_uuid: str, kinds: Sequence[Kind] = KINDS) -> bool:
        """Leave a task as it is, without a dead letter; False if it is no dead letter of these kinds."""
        dropped = [queue.drop(task_uuid) for kind in kinds for _node, queue in self._queues(kind)]
        return any(dropped)

    def forget(self, task_uuid: str) -> bool:
        """Delete the record of a task that has ended, with its dead letters; False if work is left to do for it."""
        return self._broker.tasks.forget(task_uuid, self.queues_after_tasks(), FINAL_STATUSES)

    def queues_after_tasks(self) -> list[RedisQueue]:
        """The queues that a task may be in after the task queue, those of other nodes included."""
        return [queue for kind in ("results", "webhooks") for _node, queue in self._queues(kind)]

    def _queues(self, kind: Kind) -> list[tuple[str, RedisQueue]]:
        """The queues of a kind, each with its node."""
        return [(node, queue) for found, node, queue in self._broker.all_queues() if found == kind]

    def _dead_task(self, letter: DeadLetter, kind: Kind, node: str) -> DeadTask:
        task = self._broker.store.get(letter.id)
        if task is None:
            reason = "The record of this task is gone; there is nothing left to retry."
        elif kind == "webhooks":
            reason = task.webhook_tries[-1]["error"] if task.webhook_tries else ""
        else:
            reason = task.error_message
        return DeadTask(letter.id, kind, node, iso_time(letter.buried_ms), letter.failures, letter.crashes, reason)


def _letters_in(queue: RedisQueue) -> Iterator[DeadLetter]:
    start = 0
    while letters := queue.dead_letters(start, _PAGE):
        yield from letters
        start += len(letters)


def revived_record(task: Task, kind: Kind) -> dict[str, Any]:
    """The record of `task` for its return to a queue of this kind, with its end undone."""
    webhook = WebhookState.PENDING if task.hook_url else WebhookState.NONE
    if kind == "webhooks":
        return record(webhook=webhook, webhook_step=0)
    return record(
        status=Status.QUEUED if kind == "tasks" else Status.UPLOADING,
        progress=0.0 if kind == "tasks" else 1.0,
        error_message="",
        finished_ms=0,
        webhook=webhook,
        webhook_step=0,
        revivals=task.revivals + 1,
    )
