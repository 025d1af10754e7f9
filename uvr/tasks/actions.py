"""What clients can do to a task that exists: change its priority, cancel it, retry it, or delete it with everything.

Each action takes effect in one step, even while a worker holds the task. A worker whose task was cancelled or deleted
has lost its lease, so nothing that it does afterwards counts. It notices within half a second, and its work on the song
ends within a second; a download that stalls ends at the next bytes or at its time limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis_queue import NOW, LimitReachedError, RedisQueue
from uvr.storage.base import Storage
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import log_task_end
from uvr.tasks.dead_letters import DeadLetters, revived_record
from uvr.tasks.model import FINAL_STATUSES, Status, Task, WebhookState, record


class TaskActions:
    """The tasks in the queues of `broker`, those of other nodes included. Methods may raise `redis.RedisError`."""

    def __init__(self, broker: Broker, dead_letters: DeadLetters, storage: Storage, uploads: Uploads) -> None:
        self._broker = broker
        self._storage = storage
        self._uploads = uploads
        self._dead_letters = dead_letters

    def cancel(self, task_uuid: str) -> bool:
        """End a task whose stems are not made yet; False and no change when it is too late for that.

        Sends no webhook: the client that cancels a task knows.
        """
        return self._stop(task_uuid, [], [Status.QUEUED, Status.PROCESSING])

    def change_priority(self, task_uuid: str, priority: int) -> bool:
        """Give a task that waits another priority, 1 to 5; False and no change when it no longer waits."""
        return self._broker.tasks.reprioritize(task_uuid, priority, record(priority=priority))

    def retry(self, task: Task) -> bool:
        """Queue a task again that failed or was cancelled; False and no change when it did not end like that.

        A failed task goes back to the step at which it failed, or to the beginning if its dead letter was dropped.
        Raises `TooManyTasksError` when too many tasks of its owner wait.
        """
        limit, statuses = self._broker.store.waiting_limit(task.owner), [Status.FAILED, Status.CANCELLED]
        again = revived_record(task, "tasks")
        try:
            return self._dead_letters.retry(task.task_uuid, ("tasks", "results"), limit=limit) or (
                self._broker.tasks.renew(task.task_uuid, task.priority, again, statuses=statuses, limit=limit)
            )
        except LimitReachedError:
            raise self._broker.store.too_many_tasks() from None

    def delete(self, task_uuid: str) -> bool:
        """Stop a task if need be, then delete its stems, its record and its upload; False if it was retried meanwhile.

        Raises `UvrError` when the storage does not delete the stems; the record stays then, so that the client can try
        again. If an uploader is storing stems at this moment, it deletes them itself, or housekeeping does if it dies.
        """
        others = self._dead_letters.queues_after_tasks()
        self._stop(task_uuid, others, [Status.QUEUED, Status.PROCESSING, Status.UPLOADING])
        task = self._broker.store.get(task_uuid)
        if task and task.status is Status.CANCELLED:
            self._broker.strays.add(task.object_keys)
        for key in task.object_keys if task else ():
            self._storage.delete(key)
        if not self._broker.tasks.forget(task_uuid, others, FINAL_STATUSES, on_request=True):
            return False
        if task and task.upload:
            self._uploads.try_to_remove(task.upload)
        return True

    def _stop(self, task_uuid: str, others: Sequence[RedisQueue], statuses: Sequence[Status]) -> bool:
        cancelled = record(status=Status.CANCELLED, finished_ms=NOW, webhook=WebhookState.NONE, webhook_step=0)
        if not self._broker.tasks.cancel(task_uuid, others, statuses, cancelled):
            return False
        if task := self._broker.store.get(task_uuid):
            log_task_end(task, task.webhook)
        return True
