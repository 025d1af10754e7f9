"""What may be done to a task that exists: it is cancelled, made once more, or deleted with all that was made of it.

Each of these takes hold in one step, whoever is at work on the task at that moment: a worker whose task was cancelled
or deleted holds it no longer, so nothing that it does afterwards counts, and it hears of it within a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis_queue import RedisQueue
from uvr.storage.base import Storage
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import log_task_end
from uvr.tasks.dead_letters import DeadLetters, revived_record
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.timestamps import now_ms

_FINAL = [status for status in Status if status.is_final]
_UNDER_WAY = [Status.QUEUED, Status.PROCESSING, Status.UPLOADING]


class TaskActions:
    """The tasks in the queues of `broker`, those of other nodes included. Methods may raise `redis.RedisError`."""

    def __init__(self, broker: Broker, dead_letters: DeadLetters, storage: Storage, uploads: Uploads) -> None:
        self._broker = broker
        self._storage = storage
        self._uploads = uploads
        self._dead_letters = dead_letters

    def cancel(self, task_uuid: str) -> bool:
        """End a task whose stems are not made yet; False, and no change, when it is too late for that.

        Nobody is told: whoever cancels a task knows.
        """
        return self._end(task_uuid, [], [Status.QUEUED, Status.PROCESSING])

    def retry(self, task: Task) -> bool:
        """Take up a task again that failed or was cancelled; False, and no change, when it did not end like that.

        One that failed goes back to the step at which it failed, one whose dead letter was dropped to the beginning.
        """
        if self._dead_letters.retry(task.task_uuid, ("tasks", "results")):
            return True
        anew, ends = revived_record(task, "tasks"), [Status.FAILED, Status.CANCELLED]
        return self._broker.tasks.renew(task.task_uuid, task.priority, anew, statuses=ends)

    def delete(self, task_uuid: str) -> bool:
        """Stop a task if need be, delete its stems, its record, its upload; False when it was brought back meanwhile.

        Raises `UvrError` when the storage does not delete the stems; the record is still there then, so that it can be
        tried again. Stems that an uploader stores at this moment are deleted by the uploader.
        """
        others = self._dead_letters.queues_behind()
        self._end(task_uuid, others, _UNDER_WAY)
        task = self._broker.store.get(task_uuid)
        for key in task.stems.values() if task else ():
            self._storage.delete(key)
        if not self._broker.tasks.forget(task_uuid, others, _FINAL, on_request=True):
            return False
        if task and task.upload:
            self._uploads.try_to_remove(task.upload)
        return True

    def _end(self, task_uuid: str, others: Sequence[RedisQueue], statuses: Sequence[Status]) -> bool:
        if not self._broker.tasks.cancel(task_uuid, others, statuses, _cancelled()):
            return False
        if task := self._broker.store.get(task_uuid):
            log_task_end(task, task.webhook)
        return True


def _cancelled() -> dict[str, str | int | float]:
    return record(status=Status.CANCELLED, finished_ms=now_ms(), webhook=WebhookState.NONE, webhook_step=0)
