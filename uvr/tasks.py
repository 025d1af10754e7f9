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
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_origin, get_type_hints

from redis import Redis

from redis_queue import RedisQueue
from uvr.output_format import OutputFormat


class Status(StrEnum):
    """Where a task is. `success` and `failed` are final: a task ends in exactly one of them."""

    QUEUED = "queued"
    PROCESSING = "processing"
    UPLOADING = "uploading"
    SUCCESS = "success"
    FAILED = "failed"


class WebhookState(StrEnum):
    """How the client's webhook stands: `none` asked for, `pending`, `delivered`, or `failed` for good."""

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Task:
    """One song on its way. Times are milliseconds since 1970 (UTC), 0 for not yet; `progress` runs from 0 to 1.

    `stems` maps a stem's name ("vocals", "instrumental") to its object key once it is stored; before that,
    `handover` names the processor's folder below OUTPUT_DIR/pending. `facts` tells how the stems were made (model,
    fetch_s, separation_s, and `Separation.facts`). `webhook_tries` lists all delivery attempts.
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
    stems: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    webhook: WebhookState = WebhookState.NONE
    webhook_tries: list[dict[str, Any]] = field(default_factory=list)

    def to_record(self) -> dict[str, str | int | float]:
        """The task as fields of its hash; dicts and lists become JSON."""
        return record(**{part.name: getattr(self, part.name) for part in fields(self)})

    @classmethod
    def from_record(cls, stored: Mapping[str, str]) -> Task:
        """The task in a hash; unknown fields, of a newer version perhaps, are passed over."""
        known = {name: _PARSERS[name](text) for name, text in stored.items() if name in _PARSERS}
        return cls(**known)


_PARSERS: dict[str, Any] = {
    name: json.loads if get_origin(kind) in (dict, list) else kind for name, kind in get_type_hints(Task).items()
}


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
        return Task.from_record(stored) if stored else None

    def page(self, *, status: Status | None = None, cursor: str = "", limit: int = 50) -> Page:
        """One page of tasks, latest first; `cursor` is the `next_cursor` of the page before."""
        index = f"{self._queue.name}:tasks" + (f":{status}" if status else "")
        start = f"({cursor}" if cursor else "+"
        members: Any = self._client.zrange(index, start, "-", desc=True, bylex=True, offset=0, num=limit + 1)
        tasks = self._get_many([member.partition(":")[2] for member in members[:limit]])
        return Page(tasks, members[limit - 1] if len(members) > limit else "")

    def position(self, task_uuid: str) -> int | None:
        """How many tasks go before this one; None when it does not wait."""
        return self._queue.position(task_uuid)

    def _get_many(self, ids: list[str]) -> list[Task]:
        with self._client.pipeline(transaction=False) as pipeline:
            for task_uuid in ids:
                pipeline.hgetall(f"{self._queue.name}:task:{task_uuid}")
            return [Task.from_record(stored) for stored in pipeline.execute() if stored]
