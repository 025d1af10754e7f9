"""The Task: what a client asked for, how far it is, and what became of it; and the store that reads and lists tasks.

A task is one Redis hash, the record of redis_queue.py. It is created with its place in the queue in one step and
changed by the workers in the same steps that move it on, so its state is never ahead of or behind the truth. Fields
are added over time and never renamed; a field that is not there has its default.

    queued ──▶ processing ──▶ uploading ──▶ success
                   │              │
                   └──────────────┴───────▶ failed          (a retry goes back to queued)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_origin, get_type_hints

from redis import Redis

from redis_queue import RedisQueue
from uvr.output_format import OutputFormat


class Status(StrEnum):
    """Where a task is. `success` and `failed` are final: a task ends in exactly one of them.

    `unknown` is how a status reads that only a newer version knows, while both are at work; it is never written.
    """

    QUEUED = "queued"
    PROCESSING = "processing"
    UPLOADING = "uploading"
    SUCCESS = "success"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self in (Status.SUCCESS, Status.FAILED)


class WebhookState(StrEnum):
    """How the client's webhook stands: `none` asked for, `pending`, `delivered`, or `failed` for good."""

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Task:
    """One song on its way. Times are milliseconds since 1970 (UTC), 0 for not yet; `progress` runs from 0 to 1.

    `handover` names the processor's folder below OUTPUT_DIR/pending, on the disk of `node`; `lost_with` is a node that
    was lost with the stems it had not saved, so that they are made again; `losses` counts how often they were missing
    from a disk that was still there. `revivals` counts how often an operator brought the task back. `stems` maps a
    stem's name ("vocals", "instrumental") to its object key, from the moment before the first one is stored; they are
    all there on success, and not before, and until `stems_deleted_ms`, when they had become too old. `facts` tells how
    the stems were made (model, fetch_s, separation_s, and `Separation.facts`). `webhook_step` counts the delivery
    attempts of the present schedule, `webhook_tries` lists the latest of them all.
    """

    task_uuid: str
    audio: str
    priority: int
    created_ms: int
    status: Status = Status.QUEUED
    hook_url: str = ""
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
    webhook_tries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def webhook_id(self) -> str:
        """What names the webhook of this end of the task, on every try and when it is delivered again."""
        name = f"{self.task_uuid}.{self.status}"
        return f"{name}.{self.revivals}" if self.revivals else name

    def to_record(self) -> dict[str, str | int | float]:
        """The task as fields of its hash; dicts and lists become JSON."""
        return record(**{part.name: getattr(self, part.name) for part in fields(self)})

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


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Page:
    """A part of the list of tasks, latest first; `next_cursor` fetches the part after it, "" at the end."""

    tasks: list[Task]
    next_cursor: str


class TaskStore:
    """The tasks, to be read, and created in the queue. `queue` is the task queue, whose records the tasks are."""

    def __init__(self, client: Redis, queue: RedisQueue) -> None:
        self._client = client
        self._queue = queue

    def submit(self, task: Task) -> bool:
        """Create the task and queue it, in one step; False and no change when its id is known already."""
        return self._queue.enqueue(task.task_uuid, task.priority, task.to_record())

    def get(self, task_uuid: str) -> Task | None:
        """The task, or None when there is none of this id."""
        stored: Any = self._client.hgetall(f"{self._queue.name}:task:{task_uuid}")
        return Task.from_record(stored)

    def page(self, *, status: Status | None = None, cursor: str = "", limit: int = 50) -> Page:
        """One page of tasks, latest first; `cursor` is the `next_cursor` of the page before."""
        index = f"{self._queue.name}:tasks" + (f":{status}" if status else "")
        start = f"({cursor}" if cursor else "+"
        members: Any = self._client.zrange(index, start, "-", desc=True, bylex=True, offset=0, num=limit + 1)
        tasks = self._get_many([member.partition(":")[2] for member in members[:limit]])
        return Page(tasks, members[limit - 1] if len(members) > limit else "")

    def created_before(self, time_ms: int, *, status: Status, limit: int = 100) -> Iterator[Task]:
        """All tasks of a status that were created before `time_ms`, oldest first, read `limit` at a time."""
        index, start = f"{self._queue.name}:tasks:{status}", "-"
        while True:
            members: Any = self._client.zrange(index, start, f"({time_ms}:", bylex=True, offset=0, num=limit)
            if not members:
                return
            yield from self._get_many([member.partition(":")[2] for member in members])
            start = f"({members[-1]}"

    def position(self, task_uuid: str) -> int | None:
        """How many tasks go before this one; None when it does not wait."""
        return self._queue.position(task_uuid)

    def _get_many(self, ids: list[str]) -> list[Task]:
        with self._client.pipeline(transaction=False) as pipeline:
            for task_uuid in ids:
                pipeline.hgetall(f"{self._queue.name}:task:{task_uuid}")
            found = map(Task.from_record, pipeline.execute())
            return [task for task in found if task is not None]
