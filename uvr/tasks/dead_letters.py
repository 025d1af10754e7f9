"""Tasks that were given up, and how an operator brings them back or lets them go.

A dead letter stays in the queue in which its task failed: `tasks` when the song could not be fetched or separated,
`results` when its stems could not be stored, `webhooks` when a fault of ours kept its webhook from being sent. Bringing
one back undoes the failure in the task's record; when the task ends anew, so does its webhook begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from redis_queue import RedisQueue
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.timestamps import iso_time

Kind = Literal["tasks", "results", "webhooks"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_PAGE = 100


@dataclass(frozen=True)
class Letter:
    """A task in one of the dead-letter lists; `node` is the one whose disk has its stems, for results."""

    task_uuid: str
    queue: Kind
    node: str
    buried_at: str | None
    failures: int
    crashes: int
    error_message: str


class DeadLetters:
    """The dead letters of all queues, those of other nodes included. Methods may raise `redis.RedisError`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def all(self, kinds: Sequence[Kind] = KINDS) -> list[Letter]:
        """All of these kinds, the latest of each queue first."""
        return [letter for kind in kinds for node, queue in self._of(kind) for letter in self._in(kind, node, queue)]

    def retry(self, task_uuid: str, kinds: Sequence[Kind] = KINDS) -> bool:
        """Bring a task back to where it failed; False if it is no dead letter of these kinds or its record is gone.

        A task that failed goes back to that step only: how that ends is told by a webhook of its own.
        """
        task = self._broker.store.get(task_uuid)
        return task is not None and any(
            queue.revive(task_uuid, revived_record(task, kind)) for kind in kinds for _node, queue in self._of(kind)
        )

    def drop(self, task_uuid: str, kinds: Sequence[Kind] = KINDS) -> bool:
        """Let a task rest as it is; False if it is no dead letter of these kinds."""
        dropped = [queue.drop(task_uuid) for kind in kinds for _node, queue in self._of(kind)]
        return any(dropped)

    def forget(self, task_uuid: str) -> bool:
        """Delete the record of a task that has ended, with its dead letters; False if something is still to be done."""
        final = [status for status in Status if status.is_final]
        return self._broker.tasks.forget(task_uuid, self.queues_behind(), final)

    def queues_behind(self) -> list[RedisQueue]:
        """The queues that a task may be in when it has left the task queue, those of other nodes included."""
        return [queue for kind in ("results", "webhooks") for _node, queue in self._of(kind)]

    def _of(self, kind: Kind) -> list[tuple[str, RedisQueue]]:
        if kind == "results":
            nodes = sorted({"", self._broker.node_id, *self._broker.node_ids()})
            return [(node, self._broker.result_queue(node)) for node in nodes]
        return [("", self._broker.tasks if kind == "tasks" else self._broker.webhooks)]

    def _in(self, kind: Kind, node: str, queue: RedisQueue) -> Iterator[Letter]:
        start = 0
        while letters := queue.dead_letters(start, _PAGE):
            for dead in letters:
                task = self._broker.store.get(dead.id)
                buried_at = iso_time(dead.buried_ms)
                yield Letter(dead.id, kind, node, buried_at, dead.failures, dead.crashes, _why(task, kind))
            start += len(letters)


def _why(task: Task | None, kind: Kind) -> str:
    if task is None:
        return "The record of this task is gone; there is nothing left to retry."
    if kind != "webhooks":
        return task.error_message
    return str(task.webhook_tries[-1]["error"]) if task.webhook_tries else ""


def revived_record(task: Task, kind: Kind) -> dict[str, Any]:
    """What the record of `task` says once it is in a queue of this kind again, its end undone."""
    webhook = WebhookState.PENDING if task.hook_url else WebhookState.NONE
    if kind == "webhooks":
        return record(webhook=webhook, webhook_step=0)
    again = {"webhook": webhook, "webhook_step": 0, "revivals": task.revivals + 1}
    status = Status.QUEUED if kind == "tasks" else Status.UPLOADING
    progress = 0.0 if kind == "tasks" else 1.0
    return record(status=status, progress=progress, error_message="", finished_ms=0, **again)
