"""The store of tasks: creates them in the queue, reads them, and lists them page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from redis_queue import NOW, Attachment, EnqueueResult, IdempotencyKey, Limit, NewItem, RedisQueue
from uvr.errors import RepeatedRequestError, TooManyTasksError, TransientError
from uvr.storage.upload_index import index_key
from uvr.tasks.model import Status, Task, WebhookState

_PAGE = 500
"""How many tasks are read in one round trip."""
_POSITIONS_AT_ONCE = 20
"""Of how many tasks the position is read in one step of Redis."""

_MAX_PAGES_READ = 10
"""How many pages of an index are searched for one page of tasks that match a filter."""


@dataclass(frozen=True)
class Page:
    """A part of the list of tasks, newest first; `next_cursor` fetches the part after it, "" at the end."""

    tasks: list[Task]
    next_cursor: str


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks to list: those that match every value. None, and 0 for a time, match all tasks.

    A new filter goes into `matches` unless it has an index.
    """

    status: Status | None = None
    priority: int | None = None
    webhook: WebhookState | None = None
    since_ms: int = 0
    """Created then or later."""
    until_ms: int = 0
    """Created before then."""
    batch: str = ""
    """Submitted in this batch, "" for any or none."""

    def matches(self, task: Task) -> bool:
        """Whether `task` matches the filters for which the index that is read may not be enough."""
        return (
            self.priority in (None, task.priority)
            and self.webhook in (None, task.webhook)
            and (not self.batch or self.status in (None, task.status))
        )


class TaskStore:
    """The tasks. `queue` is the task queue, whose records they are. Methods may raise `redis.RedisError`.

    An owner may have at most `max_waiting` tasks that wait, 0 for any number.
    """

    def __init__(self, client: Redis, queue: RedisQueue, *, max_waiting: int = 0) -> None:
        self._client = client
        self._queue = queue
        self._root = queue.root
        self._max_waiting = max_waiting

    def submit(self, task: Task, idempotency_key: IdempotencyKey | None = None) -> bool:
        """Create the task and queue it, in one step; False and no change when a task with its id exists.

        A task with `created_ms` 0 gets the time of Redis at this step.

        Raises `TooManyTasksError` when too many tasks of its owner wait, `RepeatedRequestError` when a task was
        created with the idempotency key before, and `TransientError` when its upload is no longer stored.
        """
        result = self._queue.enqueue(
            task.task_uuid,
            task.priority,
            {**task.to_record(), "created_ms": task.created_ms or NOW},
            limit=self.waiting_limit(task.owner),
            idempotency_key=idempotency_key,
            attachment=Attachment(index_key(self._root), task.upload) if task.upload else None,
        )
        if result.outcome == "limited":
            raise self.too_many_tasks()
        if result.outcome == "detached":
            raise TransientError("Storing the upload took too long; send it again.")
        _refuse_repeated(result)
        return result.accepted

    def submit_batch(self, tasks: Sequence[Task], idempotency_key: IdempotencyKey | None = None) -> bool:
        """Create and queue the tasks of a batch, at most 100, in one step; False and no change if one of them exists.

        Raises the errors of `submit`; `RepeatedRequestError` names the batch instead of a task.
        """
        result = self._queue.enqueue_batch(
            tasks[0].batch,
            [NewItem(task.task_uuid, task.priority, {**task.to_record(), "created_ms": NOW}) for task in tasks],
            limit=self.waiting_limit(tasks[0].owner),
            idempotency_key=idempotency_key,
        )
        if result.outcome == "limited":
            raise self.too_many_tasks(len(tasks))
        _refuse_repeated(result)
        return result.accepted

    def refuse_repeated(self, idempotency_key: IdempotencyKey | None) -> None:
        """Raise `RepeatedRequestError` if tasks were created with the idempotency key before.

        `submit` does so as well. To know it in advance helps where a request would be refused today that was accepted
        when it came first.
        """
        if idempotency_key and (earlier := self._queue.earlier(idempotency_key)):
            _refuse_repeated(earlier)

    def batch(self, batch: str) -> list[Task]:
        """The tasks of a batch that have not been deleted, in the order in which they were submitted."""
        members: Any = self._client.zrange(f"{self._root}:batch:{batch}", 0, -1)
        return list(filter(None, self._get_many(members)))

    def waiting_limit(self, owner: str) -> Limit | None:
        """The limit on waiting tasks of `owner`, None for any number; `too_many_tasks` is the error for it."""
        return Limit(f"{self._root}:owner:{owner}:{Status.QUEUED}", self._max_waiting) if self._max_waiting else None

    def too_many_tasks(self, count: int = 1) -> TooManyTasksError:
        """The error for an owner to whom `waiting_limit` allows no `count` more tasks."""
        again = "try again in half a minute, or when some of them have begun."
        if count > 1:
            return TooManyTasksError(f"With these {count} songs, more than {self._max_waiting} would wait; {again}")
        return TooManyTasksError(f"You have {self._max_waiting} tasks waiting, which is the limit; {again}")

    def get(self, task_uuid: str) -> Task | None:
        """The task, or None when there is none with this id."""
        stored: Any = self._client.hgetall(f"{self._root}:task:{task_uuid}")
        return Task.from_record(stored)

    def get_many(self, task_uuids: Sequence[str]) -> dict[str, Task]:
        """Those of these tasks that exist, by id."""
        found: dict[str, Task] = {}
        for start in range(0, len(task_uuids), _PAGE):
            members = [f":{task_uuid}" for task_uuid in task_uuids[start : start + _PAGE]]
            found |= {task.task_uuid: task for task in self._get_many(members) if task is not None}
        return found

    def statuses(self, *, owner: str, limit: int) -> dict[str, Status]:
        """The status of at most `limit` tasks of `owner` ("" for any), newest first.

        Tasks that are worked on come first, whatever their age. The statuses are read one after the other in the order
        in which a task has them, so a task that moves on meanwhile is found; one that is retried may be missing.
        """
        every_status = f"{self._root}:owner:{owner}" if owner else f"{self._root}:tasks"
        statuses = [status for status in Status if status is not Status.UNKNOWN]
        with self._client.pipeline(transaction=False) as pipeline:
            for status in statuses:
                pipeline.zrevrange(f"{every_status}:{status}", 0, limit - 1)
            by_member = {
                member: status
                for status, members in zip(statuses, pipeline.execute(), strict=True)
                for member in members
            }
        at_work = (Status.PROCESSING, Status.UPLOADING)
        first = sorted(by_member, key=lambda member: (by_member[member] in at_work, member), reverse=True)
        return {member.partition(":")[2]: by_member[member] for member in first[:limit]}

    def page(
        self, task_filter: TaskFilter | None = None, *, owner: str = "", cursor: str = "", limit: int = 50
    ) -> Page:
        """One page of tasks, newest first: those that match `task_filter` (None for all), of `owner` ("" for any).

        `cursor` is the `next_cursor` of the page before. The search for values without an index stops after a while, so
        a page may be short or empty although more tasks follow; then `next_cursor` is set.
        """
        task_filter = task_filter or TaskFilter()
        tasks: list[Task] = []
        for _ in range(_MAX_PAGES_READ):
            members = self._members(task_filter, owner, cursor, limit + 1)
            for cursor, task in zip(members[:limit], self._get_many(members[:limit]), strict=True):
                if task is not None and task_filter.matches(task) and owner in ("", task.owner):
                    tasks.append(task)
                if len(tasks) == limit:
                    return Page(tasks, cursor if cursor != members[-1] else "")
            if len(members) <= limit:
                return Page(tasks, "")
        return Page(tasks, cursor)

    def created_before(self, time_ms: int, *, status: Status, since_ms: int = 0, limit: int = 100) -> Iterator[Task]:
        """All tasks of a status that were created before `time_ms`, and `since_ms` or later, oldest first.

        They are read `limit` at a time.
        """
        index, start = f"{self._root}:tasks:{status}", f"[{_first_member_at(since_ms)}" if since_ms else "-"
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
                pipeline.zcard(f"{self._root}:tasks:{status}")
            return dict(zip(statuses, pipeline.execute(), strict=True))

    def position(self, task_uuid: str) -> int | None:
        """How many tasks go before this one; None when it does not wait."""
        return self._queue.position(task_uuid)

    def positions(self, task_uuids: Sequence[str]) -> list[int | None]:
        """The `position` of each of these tasks."""
        pages = range(0, len(task_uuids), _POSITIONS_AT_ONCE)
        return [it for start in pages for it in self._queue.positions(task_uuids[start : start + _POSITIONS_AT_ONCE])]

    def was_deleted(self, task_uuid: str) -> bool:
        """Whether a task with this id was deleted on request within the last two days."""
        return self._client.zscore(f"{self._root}:deleted", task_uuid) is not None

    def _members(self, task_filter: TaskFilter, owner: str, cursor: str, count: int) -> list[str]:
        """Up to `count` members of the index for this filter, newest first, after `cursor`."""
        every_status = f"{self._root}:owner:{owner}" if owner else f"{self._root}:tasks"
        index = f"{every_status}:{task_filter.status}" if task_filter.status else every_status
        if task_filter.batch:
            index = f"{self._root}:batch:{task_filter.batch}"
        before = min(filter(None, [cursor, _first_member_at(task_filter.until_ms)]), default="")
        start = f"({before}" if before else "+"
        end = f"[{_first_member_at(task_filter.since_ms)}" if task_filter.since_ms else "-"
        members: Any = self._client.zrevrangebylex(index, start, end, 0, count)
        return list(members)

    def _get_many(self, members: Sequence[str]) -> list[Task | None]:
        """The tasks that these members of an index name, None for those that are gone."""
        with self._client.pipeline(transaction=False) as pipeline:
            for member in members:
                pipeline.hgetall(f"{self._root}:task:{member.partition(':')[2]}")
            return list(map(Task.from_record, pipeline.execute()))


def _refuse_repeated(result: EnqueueResult) -> None:
    if result.outcome == "repeated":
        raise RepeatedRequestError(
            result.earlier_id, result.earlier_priority, asks_for_the_same=result.asks_for_the_same
        )


def _first_member_at(time_ms: int) -> str:
    """Sorts before every member of an index that was created at `time_ms` or later; "" for 0.

    Indexes are in the order of text, which is that of the times from 2001 to 2286; others are moved into this range.
    """
    return f"{min(max(time_ms, 10**12), 10**13 - 1)}:" if time_ms else ""
