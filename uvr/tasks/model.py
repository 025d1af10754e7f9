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
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_origin, get_type_hints

from uvr.audio.output_format import OutputFormat
from uvr.timestamps import _iso


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
    `webhook_id` of the end that the log has told about (`uvr.tasks.canonical_log`). `owner` is the user who submitted
    it, "" in a record from before there were several. `upload` is the key under which the song is kept that was sent
    along (`uvr.storage.uploads`), `audio` being its name then. `fingerprint` says what the stems are made of where that
    is remembered, and `copy_of` is the task whose stems this one gets (`uvr.tasks.result_cache`). `callback_events` are
    what the receiver wants to hear of beside the end (`uvr.webhooks.progress_events`). `handover` names the processor's
    folder below OUTPUT_DIR/pending, on the disk of `node`; `lost_with` is a node that was lost with the stems it had
    not saved, so that they are made again; `losses` counts how often they were missing from a disk that was still
    there. `revivals` counts how often the task was brought back. `stems` maps a stem's name ("vocals", "instrumental")
    to its object key, from the moment before the first one is stored; they are all there on success, and not before,
    and until `stems_deleted_ms`, when they had become too old. `facts` tells how the stems were made (model, how long
    each step took, and `Separation.facts`). `webhook_step` counts the delivery attempts of the present schedule,
    `webhook_tries` lists the latest of them all.
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


def time_stamp() -> dict[str, Any]:
    """The time of this machine for clients: `timestamp`, seconds since 1970, and `time`, ISO 8601 in UTC."""
    now = datetime.now(UTC)
    return {"timestamp": int(now.timestamp()), "time": _iso(now)}
