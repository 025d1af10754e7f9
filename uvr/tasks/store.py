"""The store of tasks: creates them in the queue, reads them, and lists them page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from redis_queue import Once, RedisQueue
from uvr.tasks.model import Status, Task, WebhookState


@dataclass(frozen=True)
class Page:
    """A part of the list of tasks, latest first; `next_cursor` fetches the part after it, "" at the end."""

    tasks: list[Task]
    next_cursor: str


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks to list: those created from `since_ms` on and before `until_ms` that have all that is given.

    None and 0 stand for what is not given.
    """

    status: Status | None = None
    priority: int | None = None
    webhook: WebhookState | None = None
    since_ms: int = 0
    until_ms: int = 0

    def takes(self, task: Task) -> bool:
        """Whether `task` has what no list of its own stands for."""
        return self.priority in (None, task.priority) and self.webhook in (None, task.webhook)


_MAX_PAGES_READ = 10
"""How many pages of a list are looked through for one page of wanted tasks."""


class TaskStore:
    """The tasks, to be read, and created in the queue. `queue` is the task queue, whose records the tasks are."""

    def __init__(self, client: Redis, queue: RedisQueue, *, max_waiting: int = 0) -> None:
        self._client = client
        self._queue = queue
        self._max_waiting = max_waiting

    def submit(self, task: Task, once: Once | None = None) -> bool:
        """Create the task and queue it, in one step; False and no change when its id is known already.

        Raises `LimitExceededError` when the owner has `max_waiting` tasks waiting (0: any number),
        `DuplicateRequestError` when the request `once` came before, and `TransientError` when its upload is not kept
        any more.
        """
        return self._queue.enqueue(
            task.task_uuid,
            task.priority,
            task.to_record(),
            at_most=self._max_waiting,
            once=once,
            upload=task.upload,
        )

    def get(self, task_uuid: str) -> Task | None:
        """The task, or None when there is none of this id."""
        stored: Any = self._client.hgetall(f"{self._queue.name}:task:{task_uuid}")
        return Task.from_record(stored)

    def page(self, wanted: TaskFilter | None = None, *, owner: str = "", cursor: str = "", limit: int = 50) -> Page:
        """One page of the tasks that are `wanted`, None for all, and of `owner`, "" for everybody; latest first.

        `cursor` is the `next_cursor` of the page before. What has no list of its own is found by looking through the
        list, at most so far that the page may come out short, or empty, although others follow.
        """
        wanted = wanted or TaskFilter()
        tasks: list[Task] = []
        for _ in range(_MAX_PAGES_READ):
            members = self._members(wanted, owner, cursor, limit + 1)
            for cursor, task in zip(members[:limit], self._get_many(members[:limit]), strict=True):
                if task is not None and wanted.takes(task):
                    tasks.append(task)
                if len(tasks) == limit:
                    return Page(tasks, cursor if cursor != members[-1] else "")
            if len(members) <= limit:
                return Page(tasks, "")
        return Page(tasks, cursor)

    def _members(self, wanted: TaskFilter, owner: str, cursor: str, count: int) -> list[str]:
        everything = f"{self._queue.name}:owner:{owner}" if owner else f"{self._queue.name}:tasks"
        index = f"{everything}:{wanted.status}" if wanted.status else everything
        before = min(filter(None, [cursor, _edge(wanted.until_ms)]), default="")
        start, end = f"({before}" if before else "+", f"[{_edge(wanted.since_ms)}" if wanted.since_ms else "-"
        members: Any = self._client.zrevrangebylex(index, start, end, 0, count)
        return list(members)

    def created_before(self, time_ms: int, *, status: Status, limit: int = 100) -> Iterator[Task]:
        """All tasks of a status that were created before `time_ms`, oldest first, read `limit` at a time."""
        index, start = f"{self._queue.name}:tasks:{status}", "-"
        while True:
            members: Any = self._client.zrangebylex(index, start, f"({time_ms}:", 0, limit)
            if not members:
                return
            yield from filter(None, self._get_many(members))
            start = f"({members[-1]}"

    def counts(self) -> dict[Status, int]:
        """How many tasks have each status."""
        statuses = [status for status in Status if status is not Status.UNKNOWN]
        with self._client.pipeline(transaction=False) as pipeline:
            for status in statuses:
                pipeline.zcard(f"{self._queue.name}:tasks:{status}")
            return dict(zip(statuses, pipeline.execute(), strict=True))

    def position(self, task_uuid: str) -> int | None:
        """How many tasks go before this one; None when it does not wait."""
        return self._queue.position(task_uuid)

    def was_deleted(self, task_uuid: str) -> bool:
        """Whether a task of this id was deleted on request within the last two days."""
        return self._client.zscore(f"{self._queue.name}:deleted", task_uuid) is not None

    def _get_many(self, members: Sequence[str]) -> list[Task | None]:
        """The tasks that these members of a list name, None for those that are gone."""
        with self._client.pipeline(transaction=False) as pipeline:
            for member in members:
                pipeline.hgetall(f"{self._queue.name}:task:{member.partition(':')[2]}")
            return list(map(Task.from_record, pipeline.execute()))


def _edge(time_ms: int) -> str:
    """What stands in a list before all that was created from `time_ms` on; "" for 0.

    Lists are in the order of digits, which is that of the times from 2001 to 2286; others are brought within these.
    """
    return f"{min(max(time_ms, 10**12), 10**13 - 1)}:" if time_ms else ""
