"""The Task: what a client asked for, how far it is, and how it ended.

A task is one Redis hash, the record of redis_queue.py. The step that queues a task creates its record, and the steps
that move it on change the record, so the two never disagree. Fields are added over time and never renamed; a field that
is missing has its default.

    queued ──▶ processing ──▶ uploading ──▶ success
      │            │              │
      │            ├──────────────┴───────▶ failed          (a retry goes back to queued)
      └────────────┴──────────────────────▶ cancelled       (a retry goes back to queued)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any, TypedDict, get_origin, get_type_hints, is_typeddict

from uvr.audio.output_format import OutputFormat


class Status(StrEnum):
    """Where a task is. `success`, `failed` and `cancelled` are final: a task ends in exactly one of them."""

    QUEUED = "queued"
    PROCESSING = "processing"
    UPLOADING = "uploading"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """Read in place of a status that a newer version wrote, while both versions run; never written."""

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self in FINAL_STATUSES


FINAL_STATUSES = (Status.SUCCESS, Status.FAILED, Status.CANCELLED)


class WebhookState(StrEnum):
    """The state of the client's webhook: `none` asked for, `pending`, `delivered`, or `failed` for good."""

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Facts(TypedDict, total=False):
    """How the stems of a task were made. Clients see all of it; a field is missing until its step is done."""

    fetch_s: float
    """Seconds that fetching the song took."""
    waited_s: float
    """Seconds for which the song waited for its turn in the network, on disk and decoded."""
    separation_s: float
    """Seconds from the song's file to its stems, without `waited_s`."""
    load_s: float
    """Seconds of `separation_s` for which the song waited for its model to be loaded; missing if it was loaded."""
    store_s: float
    """Seconds that storing the stems took."""
    model: str
    """The model's name; of several, their names with commas."""
    provider: str
    """The processor that ran the network: "cpu", "cuda"."""
    backend: str
    """The code that ran the network: "native", "onnxruntime", "audio-separator"."""
    precision: str
    """What the network was computed in: "float32", "bfloat16"; missing where another program decides that."""
    audio_s: float
    """The song's length in seconds."""
    sample_rate: int
    """Of every stem, in Hz."""
    channels: int
    """Of every stem."""
    output_format: str
    """Of every stem."""
    gain: float
    """The factor that all stems share so that none clips; 1.0 when none would."""
    sum_error_db: float
    """The level of the song minus all its stems, in dB relative to the song; missing where they add up to it, or where
    not all of them were wanted."""
    notes: list[str]
    """What is different about the stems, in sentences: a mix-down, another sample rate."""
    waits_for: str
    """What a task waits for, a sentence: room on a full disk, or the download of its model; gone when its stems are
    made."""
    repeated: bool
    """True when the stems are copies of an earlier task's (`uvr.tasks.result_cache`)."""


class WebhookTry(TypedDict, total=False):
    """One delivery attempt; `uvr.webhooks.delivery` makes it."""

    webhook_id: str
    """The webhook that was sent: `Task.webhook_id` at that time."""
    at: str
    """When, ISO 8601 in UTC."""
    status_code: int | None
    """The receiver's answer; None when there was none."""
    duration_ms: int
    """How long it took."""
    error: str
    """Why it failed, a sentence; "" once delivered."""
    outcome: str
    """What follows from it: "delivered", "retry" or "final"."""
    retry_after_s: float | None
    """For how long the receiver asked to wait, if it did."""


@dataclass(frozen=True)
class Task:
    """One song on its way. Each attribute is a field of the record; times are ms since 1970 (UTC) by
    the clock of Redis, 0 for not yet.
    """

    task_uuid: str
    """The id, also that of the item in the queues."""
    audio: str
    """The song's URL, or the file name of an upload."""
    priority: int
    """1 (lowest) to 5."""
    created_ms: int
    """When it was submitted; 0 until the queue sets it."""
    status: Status = Status.QUEUED
    """Where it is."""
    owner: str = ""
    """The user who submitted it; "" in records from before there were users."""
    request_id: str = ""
    """The request that submitted it; every log line about the task has it."""
    upload: str = ""
    """The key of the uploaded song (`uvr.storage.uploads`); "" for a song with a URL."""
    fingerprint: str = ""
    """What the stems were made from (`uvr.tasks.result_cache`); "" while the cache is off."""
    copy_of: str = ""
    """The earlier task whose stems this one gets, "" for none."""
    hook_url: str = ""
    """Where the webhook goes, "" for none."""
    models: list[str] = field(default_factory=list)
    """The catalogue's names of the models that the client chose; [] for MODEL_NAME. Of several, the stems are the
    average."""
    preset: str = ""
    """The preset that `models` were taken from; "" if the client named models, or none."""
    wanted_stems: list[str] = field(default_factory=list)
    """The only stems to be stored; [] for all that the models give."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The client's own data, which its webhooks and answers carry unchanged."""
    batch: str = ""
    """The id of the request that submitted this song together with others; "" for a song on its own."""
    callback_events: list[str] = field(default_factory=list)
    """The events before the end that the webhook reports as well (`uvr.webhooks.progress_events`)."""
    output_format: OutputFormat = OutputFormat.WAV
    """The stems' file format."""
    progress: float = 0.0
    """The share of the work that is done, 0 to 1."""
    attempt: int = 0
    """The number of the latest claim by a processor."""
    started_ms: int = 0
    """When a processor claimed it last."""
    finished_ms: int = 0
    """When it ended."""
    error_message: str = ""
    """Why it failed, a sentence for the client."""
    handover: str = ""
    """The processor's folder with the stems, below OUTPUT_DIR/pending on the disk of `node`."""
    node: str = ""
    """The NODE_ID of the node that made the stems."""
    lost_with: str = ""
    """The node that was lost with stems that were not stored yet, so that they are made again."""
    losses: int = 0
    """How often stems were missing from a disk that was still there, so that they were made again."""
    needs_bytes: dict[str, int] = field(default_factory=dict)
    """After a try that has filled a disk: the variable of its folder -> the free space that the next try needs."""
    revivals: int = 0
    """How often the task was retried after its end."""
    stems: dict[str, str] = field(default_factory=dict)
    """Stem name ("vocals", "instrumental") -> object key, written before the first stem is stored. All of them are
    stored on success, and not before."""
    peaks: dict[str, str] = field(default_factory=dict)
    """Stem name and resolution ("vocals.fine", "vocals.coarse") -> object key of its peaks, stored and deleted with the
    stems; {} for stems of an older version."""
    stems_deleted_ms: int = 0
    """When the stems were deleted because STEM_RETENTION_HOURS had passed."""
    facts: Facts = field(default_factory=Facts)
    """How the stems were made."""
    webhook: WebhookState = WebhookState.NONE
    """The state of the webhook."""
    webhook_step: int = 0
    """How many delivery attempts of the current retry schedule were made."""
    told: str = ""
    """The `webhook_id` of the end for which the log has its `task.ended` line (`uvr.tasks.canonical_log`)."""
    webhook_tries: list[WebhookTry] = field(default_factory=list)
    """The latest delivery attempts, those of earlier schedules included."""

    @property
    def has_choices(self) -> bool:
        """Whether its request had a field that the first version of the API did not have: model, stems, metadata.

        Only then do answers and webhooks have the keys that came with these fields.
        """
        return bool(self.models or self.wanted_stems or self.metadata or self.batch)

    @property
    def object_keys(self) -> list[str]:
        """Of all that is stored for the task, or is being stored."""
        return [*self.stems.values(), *self.peaks.values()]

    @property
    def chosen_model(self) -> str | list[str] | None:
        """The models that its client chose, as answers show them: a name, several for an ensemble, None for none."""
        return one_or_several(self.models)

    @property
    def webhook_id(self) -> str:
        """The id of the webhook about this end of the task: the same on every attempt, and when it is sent again."""
        name = f"{self.task_uuid}.{self.status}"
        return f"{name}.{self.revivals}" if self.revivals else name

    def to_record(self) -> dict[str, str | int | float]:
        """The task as fields of its hash, without those that have their default; dicts and lists become JSON."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return record(**{name: value for name, value in values.items() if value != _DEFAULTS.get(name, MISSING)})

    @classmethod
    def from_record(cls, stored: Mapping[str, str]) -> Task | None:
        """The task in a hash, None when it holds none; never fails.

        Skips a field that is unknown or cannot be read: a newer version may have written it, and one broken record must
        not hide all the others.
        """
        readable: dict[str, Any] = {}
        for name in stored.keys() & _PARSERS.keys():
            with suppress(ValueError):
                readable[name] = _PARSERS[name](stored[name])
        if "status" in stored:
            readable.setdefault("status", Status.UNKNOWN)
        return cls(**readable) if readable.keys() >= _REQUIRED else None


def one_or_several(models: Sequence[str]) -> str | list[str] | None:
    """Models as requests and answers name them: one as its name, an ensemble as a list, none as None."""
    return models[0] if len(models) == 1 else list(models) or None


def record(**values: Any) -> dict[str, str | int | float]:
    """Task fields in the form that Redis stores: `record(progress=0.5, stems={…})`."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in values.items()
    }


def _parser(kind: Any) -> Callable[[str], Any]:
    """What reads a field of this type from its text in Redis; raises `ValueError` when it cannot."""
    container = dict if is_typeddict(kind) else get_origin(kind)
    if container is None:
        parse: Callable[[str], Any] = kind
        return parse

    def parse_json(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, container):
            raise ValueError(f"{text[:80]} is not a {container.__name__}")  # noqa: TRY004  # as all parsers
        return value

    return parse_json


_PARSERS = {name: _parser(kind) for name, kind in get_type_hints(Task).items()}
_REQUIRED = {part.name for part in fields(Task) if part.default is MISSING and part.default_factory is MISSING}
_DEFAULTS = {
    part.name: part.default if part.default_factory is MISSING else part.default_factory()
    for part in fields(Task)
    if part.name not in ("status", "owner")  # the queue's scripts read these from the record
}
