"""The Task: what a client asked for, how far it is, and what became of it; and the store that reads and lists tasks.

A task is one Redis hash, the record of redis_queue.py. It is created with its place in the queue in one step and
changed by the workers in the same steps that move it on, so its state is never ahead of or behind the truth. Fields
are added over time and never renamed; a field that is not there has its default.

    queued ──▶ processing ──▶ uploading ──▶ success
      │            │              │
      │            ├──────────────┴───────▶ failed          (a retry goes back to queued)
      └────────────┴──────────────────────▶ cancelled       (a retry goes back to queued)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_origin, get_type_hints

from redis import Redis

from redis_queue import Once, RedisQueue
from uvr.output_format import OutputFormat


class Status(StrEnum):
    """Where a task is. `success`, `failed` and `cancelled` are final: a task ends in exactly one of them.

    `unknown` is how a status reads that only a newer version knows, while both are at work; it is never written.
    """

    QUEUED = "queued"
    PROCESSING = "processing"
    UPLOADING = "uploading"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self in (Status.SUCCESS, Status.FAILED, Status.CANCELLED)


class WebhookState(StrEnum):
    """How the client's webhook stands: `none` asked for, `pending`, `delivered`, or `failed` for good."""

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Task:
    """One song on its way. Times are milliseconds since 1970 (UTC), 0 for not yet; `progress` runs from 0 to 1.

    `request_id` is that of the request which submitted it; it stands in every log line about the task. `told` is the
    `webhook_id` of the end that the log has told about (`uvr.task_log`). `owner` is the user who submitted it, "" in a
    record from before there were several. `upload` is the key under which the song is kept that was sent along
    (`uvr.uploads`), `audio` being its name then. `fingerprint` says what the stems are made of where that is
    remembered, and `copy_of` is the task whose stems this one gets (`uvr.repeats`). `callback_events` are what the
    receiver wants to hear of beside the end (`uvr.news`). `handover` names the processor's folder below
    OUTPUT_DIR/pending, on the disk of `node`; `lost_with` is a node that was lost with the stems it had not saved, so
    that they are made again; `losses` counts how often they were missing from a disk that was still there. `revivals`
    counts how often the task was brought back. `stems` maps a stem's name ("vocals", "instrumental") to its
    object key, from the moment before the first one is stored; they are all there on success, and not before, and until
    `stems_deleted_ms`, when they had become too old. `facts` tells how the stems were made (model, how long each step
    took, and `Separation.facts`). `webhook_step` counts the delivery attempts of the present schedule, `webhook_tries`
    lists the latest of them all.
    """

    task_uuid: str
    audio: str
    priority: int
    created_ms: int
    status: Status = Status.QUEUED
    owner: str = ""
    request_id: str = ""
    upload: str = ""
    fingerprint: str = ""
    copy_of: str = ""
    hook_url: str = ""
    callback_events: list[str] = field(default_factory=list)
    output_format: OutputFormat = OutputFormat.WAV
    progress: float = 0.0
    attempt: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    error_message: str = ""
    handover: str = ""
    node: str = ""
    lost_with: str = ""
    losses: int = 0
    revivals: int = 0
    stems: dict[str, str] = field(default_factory=dict)
    stems_deleted_ms: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    webhook: WebhookState = WebhookState.NONE
    webhook_step: int = 0
    told: str = ""
    webhook_tries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def webhook_id(self) -> str:
        """What names the webhook of this end of the task, on every try and when it is delivered again."""
        name = f"{self.task_uuid}.{self.status}"
        return f"{name}.{self.revivals}" if self.revivals else name

    def to_record(self) -> dict[str, str | int | float]:
        """The task as fields of its hash, without those that have their default; dicts and lists become JSON."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return record(**{name: value for name, value in values.items() if value != _LEFT_OUT.get(name, MISSING)})

    @classmethod
    def from_record(cls, stored: Mapping[str, str]) -> Task | None:
        """The task in a hash, None when it holds none; never fails.

        A field that is unknown, or has a value that cannot be read, is passed over: a newer version may have written
        it, and one record that is broken must not hide all the others.
        """
        known: dict[str, Any] = {}
        for name in stored.keys() & _PARSERS.keys():
            with suppress(ValueError):
                known[name] = _PARSERS[name](stored[name])
        if "status" in stored:
            known.setdefault("status", Status.UNKNOWN)
        return cls(**known) if known.keys() >= _REQUIRED else None


def _parser(kind: Any) -> Callable[[str], Any]:
    container = get_origin(kind)
    if container is None:
        parse: Callable[[str], Any] = kind
        return parse

    def parse_json(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, container):
            raise ValueError(f"{text[:80]} is no {container.__name__}")  # noqa: TRY004  # what all parsers raise
        return value

    return parse_json


_PARSERS = {name: _parser(kind) for name, kind in get_type_hints(Task).items()}
_READ_BY_SCRIPTS = ("status", "owner")
_LEFT_OUT = {
    part.name: part.default if part.default_factory is MISSING else part.default_factory()
    for part in fields(Task)
    if part.name not in _READ_BY_SCRIPTS
}
_REQUIRED = {part.name for part in fields(Task) if part.default is MISSING and part.default_factory is MISSING}


def record(**values: Any) -> dict[str, str | int | float]:
    """Task fields in the form Redis stores: `record(progress=0.5, stems={…})`."""
    return {name: _stored(value) for name, value in values.items()}


def _stored(value: Any) -> str | int | float:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def now_ms() -> int:
    """The time of this machine, for people to read; nothing is ordered by it but lists."""
    return round(datetime.now(UTC).timestamp() * 1000)


def iso_time(time_ms: int) -> str | None:
    """`time_ms` as ISO 8601 in UTC, None for not yet."""
    return _iso(datetime.fromtimestamp(time_ms / 1000, UTC)) if time_ms else None


def iso_now() -> str:
    """The time of this machine as ISO 8601 in UTC."""
    return _iso(datetime.now(UTC))


def time_stamp() -> dict[str, Any]:
    """The time of this machine for clients: `timestamp`, seconds since 1970, and `time`, ISO 8601 in UTC."""
    now = datetime.now(UTC)
    return {"timestamp": int(now.timestamp()), "time": _iso(now)}


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Page:
    """A part of the list of tasks, latest first; `next_cursor` fetches the part after it, "" at the end."""

    tasks: list[Task]
    next_cursor: str


@dataclass(frozen=True)
class Wanted:
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


_MOST_LOOKS = 10
"""How many pages of a list are looked through for one page of wanted tasks."""


class TaskStore:
    """The tasks, to be read, and created in the queue. `queue` is the task queue, whose records the tasks are."""

    def __init__(self, client: Redis, queue: RedisQueue, *, max_waiting: int = 0) -> None:
        self._client = client
        self._queue = queue
        self._max_waiting = max_waiting

    def submit(self, task: Task, once: Once | None = None) -> bool:
        """Create the task and queue it, in one step; False and no change when its id is known already.

        Raises `TooManyError` when the owner has `max_waiting` tasks waiting (0: any number), `AskedBeforeError` when
        the request `once` came before, and `TransientError` when its upload is not kept any more.
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

    def page(self, wanted: Wanted | None = None, *, owner: str = "", cursor: str = "", limit: int = 50) -> Page:
        """One page of the tasks that are `wanted`, None for all, and of `owner`, "" for everybody; latest first.

        `cursor` is the `next_cursor` of the page before. What has no list of its own is found by looking through the
        list, at most so far that the page may come out short, or empty, although others follow.
        """
        wanted = wanted or Wanted()
        tasks: list[Task] = []
        for _ in range(_MOST_LOOKS):
            members = self._members(wanted, owner, cursor, limit + 1)
            for cursor, task in zip(members[:limit], self._get_many(members[:limit]), strict=True):
                if task is not None and wanted.takes(task):
                    tasks.append(task)
                if len(tasks) == limit:
                    return Page(tasks, cursor if cursor != members[-1] else "")
            if len(members) <= limit:
                return Page(tasks, "")
        return Page(tasks, cursor)

    def _members(self, wanted: Wanted, owner: str, cursor: str, count: int) -> list[str]:
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
