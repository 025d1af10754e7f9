"""Requests and answers as models: what is accepted, what is promised, and the source of the OpenAPI document.

Requests are strict (`"3"` is no priority) and pass over fields they do not know, so that clients of a newer version are
understood; `unknown_fields` says what the client hears about them. Answers name every field every time; what is not
known yet is null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from uvr.logs import without_secrets
from uvr.output_format import OutputFormat
from uvr.tasks import Status, Task, Wanted, WebhookState, iso_time

MAX_URL_LENGTH = 8192
MAX_PAGE = 200

Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]


def _without_default(schema: JsonDict) -> None:
    schema.pop("default")


def _left_out(placeholder: Any) -> Any:
    """An optional field whose null is refused: `placeholder`, no valid value itself, stands for "not given"."""
    return Field(placeholder, json_schema_extra=_without_default)


CallbackEvent = Literal["started", "progress", "completed"]
COMPLETED: CallbackEvent = "completed"


class GenerateRequest(BaseModel):
    """A song to split."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    audio: Annotated[Url, Field(description="http(s) URL of the song", examples=["https://example.com/song.mp3"])]
    hook_url: Annotated[
        Url, Field(description="http(s) URL that is told how the task ended", examples=["https://example.com/hook"])
    ] = _left_out("")
    priority: Annotated[int, Field(ge=1, le=5, description="1 goes last, 5 goes first", examples=[5])] = _left_out(0)
    callback_events: Annotated[
        list[CallbackEvent], Field(max_length=10, description="what hook_url is told of; completed always is")
    ] = [COMPLETED]
    # Strict would mean a member of the enum, which JSON does not have; its values are strict enough.
    output_format: Annotated[OutputFormat, Field(strict=False, description="the format of the stems")] = (
        OutputFormat.WAV
    )


def _parts(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _no_text(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("must be a file, with a file name, in a form")  # noqa: TRY004  # what pydantic takes
    return value


class GenerateForm(GenerateRequest):
    """A song to split that is sent along."""

    model_config = ConfigDict(strict=False)  # all that is in a form is text

    audio: Annotated[
        Any,
        AfterValidator(_no_text),
        WithJsonSchema({"type": "string", "format": "binary", "description": "the song, as a file"}),
    ]
    callback_events: Annotated[
        list[CallbackEvent],
        BeforeValidator(_parts),
        Field(max_length=10, json_schema_extra=_without_default),
        WithJsonSchema({"type": "string", "description": "what hook_url is told of, with commas between"}),
    ] = [COMPLETED]


class Parameters(BaseModel):
    """What comes in the head or the query of a request.

    flask-openapi3 asks for the JSON schema at each request, and making it takes a fifth of the time of POST /generate.
    """

    @classmethod
    @cache
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """The schema, made once."""
        return super().model_json_schema(*arguments, **options)


class GenerateHeader(Parameters):
    """What may be asked for beside the body."""

    idempotency_key: Annotated[
        str,
        Field(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[ -~]+$",
            description="names the request, so that it counts once however often it is sent within 24 hours",
        ),
    ] = _left_out("")


class FieldWarning(BaseModel):
    """A field of the request that was passed over."""

    field: str
    message: str


class Accepted(BaseModel):
    """The task is queued and will not be lost."""

    message: Literal["Task has been queued for processing"] = "Task has been queued for processing"
    status: Literal["queued"] = "queued"
    task_uuid: str
    priority: int
    warnings: Annotated[
        list[FieldWarning],
        Field(
            exclude_if=lambda warnings: not warnings,
            description="fields that are not known and were passed over, at most 20; left out when all are known",
        ),
    ] = []


class TaskPath(BaseModel):
    """The path of one task."""

    task_uuid: str


def _with_plus(value: object) -> object:
    """In a query a bare + is a space, and times with an offset have one."""
    return re.sub(r"(T\S+) (?=\d\d:?\d\d$)", r"\1+", value) if isinstance(value, str) else value


Timestamp = Annotated[int, Field(description="seconds since 1970", examples=[1795365961])]
IsoTime = Annotated[str, Field(description="the same in ISO 8601, UTC", examples=["2026-11-22T16:46:01.542Z"])]
Time = Annotated[AwareDatetime, BeforeValidator(_with_plus)]
AskedStatus = Literal["queued", "processing", "uploading", "success", "failed", "cancelled"]


class TaskListQuery(Parameters):
    """Which tasks to list."""

    status: AskedStatus | None = None
    priority: Annotated[int | None, Field(ge=1, le=5)] = None
    webhook: Annotated[WebhookState | None, Field(description="how the webhook stands")] = None
    created_since: Annotated[Time | None, Field(description="submitted then or later")] = None
    created_until: Annotated[Time | None, Field(description="submitted earlier than that")] = None
    cursor: Annotated[
        str, Field(pattern=r"^([0-9]{1,15}:[0-9a-zA-Z-]{1,64})?$", description="next_cursor of the page before")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class TaskSummary(BaseModel):
    """One task in a list. Times are ISO 8601 in UTC; `progress` runs from 0 to 1."""

    task_uuid: str
    status: Status
    priority: int
    progress: float
    attempt: Annotated[int, Field(description="how often a processor took it up")]
    owner: Annotated[str | None, Field(description="who submitted it; null for tasks from before there were users")]
    created_at: str
    started_at: str | None
    finished_at: str | None
    audio: Annotated[str, Field(description="the song's URL, query and credentials masked, or its name as a file")]
    error_message: str | None


class TaskEvent(BaseModel):
    """How a task stands, in a stream of events."""

    task_uuid: str
    status: Status
    progress: float
    attempt: int
    position: int | None
    eta_s: int | None
    error_message: str | None


class WebhookTry(BaseModel):
    """One delivery attempt of the webhook called `webhook_id`."""

    webhook_id: str = ""
    at: str = ""
    status_code: int | None = None
    duration_ms: int = 0
    error: str = ""
    outcome: str = ""


class Webhook(BaseModel):
    """How the task's webhook stands."""

    state: WebhookState
    tries: Annotated[list[WebhookTry], Field(description="the latest ones")]


class Redelivery(BaseModel):
    """The webhook is sent once more."""

    message: Literal["Webhook has been queued for delivery"] = "Webhook has been queued for delivery"
    task_uuid: str
    webhook_id: Annotated[str, Field(description="the same as on earlier tries")]


class TaskDetails(TaskSummary):
    """One task in full. Links to stems are made afresh for each answer and expire."""

    position: Annotated[int | None, Field(description="how many tasks go before this one, while it is queued")]
    eta_s: Annotated[int | None, Field(description="seconds until the stems are made, as far as one can tell")]
    hook_url: Annotated[str | None, Field(description="masked like audio")]
    output_format: OutputFormat
    vocals: str | None
    instrumental: str | None
    stems: Annotated[dict[str, str], Field(description="stem name to link, on success")]
    stems_deleted_at: Annotated[str | None, Field(description="when the stems on disk had become too old")]
    facts: Annotated[
        dict[str, Any], Field(description="how the stems were made: model, provider, audio_s, gain, notes, …")
    ]
    request_id: Annotated[str | None, Field(description="of the request that submitted it; logs and webhooks have it")]
    node: Annotated[str | None, Field(description="the node that made the stems, where there are several")]
    lost_with: Annotated[str | None, Field(description="the node that was lost with the stems, so they are made again")]
    webhook: Webhook


class TaskList(BaseModel):
    """One page of tasks, latest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None


class ModelEntry(BaseModel):
    """One model; what is not known about it is null or empty."""

    name: str
    title: Annotated[str, Field(description="how UVR calls it in its menus")]
    architecture: str
    engine: Annotated[Literal["mdx", "audio-separator"], Field(description="what runs it; mdx is the service's own")]
    primary_stem: str | None
    license: str
    size_bytes: int | None
    downloadable: Annotated[bool, Field(description="false for a file that must be put in place by hand")]
    sdr_db: Annotated[dict[str, float], Field(description="stem name to median signal-to-distortion ratio")]
    in_use: Annotated[bool, Field(description="whether a processor at work has loaded it")]


class ModelList(BaseModel):
    """The catalogue of models."""

    models: list[ModelEntry]
    in_use: Annotated[list[str], Field(description="what processors have loaded; may name one of the operator's own")]


class FilePath(BaseModel):
    """The object key of a stem."""

    key: str


class FileQuery(Parameters):
    """What makes a link to a stem valid; both come with the link."""

    expires: Annotated[str, Field(max_length=20)] = _left_out("")
    signature: Annotated[str, Field(max_length=128)] = _left_out("")


class WorkerHealth(BaseModel):
    """The workers of one kind and what they say of themselves (model, provider, storage)."""

    model_config = ConfigDict(extra="allow")

    status: Literal["up", "down", "unknown"]
    workers: int


class Components(BaseModel):
    """The state of each part; what workers do is unknown while Redis is down."""

    redis: Literal["up", "down"]
    processor: WorkerHealth
    uploader: WorkerHealth


class Health(BaseModel):
    """Whether tasks are accepted."""

    status: Literal["healthy", "unhealthy"]
    timestamp: Timestamp
    time: IsoTime
    components: Components


class PartReadiness(BaseModel):
    """Whether one part can do its work now, and a sentence where there is something to say."""

    status: Literal["up", "down", "paused", "unknown"]
    message: str | None


class PartsReadiness(BaseModel):
    """The parts that a task needs on its way."""

    redis: PartReadiness
    processor: PartReadiness
    uploader: PartReadiness


class Readiness(BaseModel):
    """Whether a task that came now would be accepted and worked on."""

    status: Literal["ready", "not ready"]
    timestamp: Timestamp
    time: IsoTime
    components: PartsReadiness


def summary(task: Task) -> TaskSummary:
    """`task` as one of a list."""
    return TaskSummary(**_summary_fields(task))


def wanted(query: TaskListQuery) -> Wanted:
    """Which tasks the client asks for."""
    return Wanted(
        status=Status(query.status) if query.status else None,
        priority=query.priority,
        webhook=query.webhook,
        since_ms=_ms(query.created_since),
        until_ms=_ms(query.created_until),
    )


def _ms(time: datetime | None) -> int:
    return max(1, math.floor(time.timestamp() * 1000)) if time else 0


def details(task: Task, *, position: int | None, eta_s: int | None, links: Mapping[str, str]) -> TaskDetails:
    """`task` in full; `links` maps its stored stems to URLs."""
    return TaskDetails(
        **_summary_fields(task),
        position=position,
        eta_s=eta_s,
        hook_url=without_secrets(task.hook_url) or None,
        output_format=task.output_format,
        vocals=links.get("vocals"),
        instrumental=links.get("instrumental"),
        stems=dict(links),
        stems_deleted_at=iso_time(task.stems_deleted_ms),
        facts=task.facts,
        request_id=task.request_id or None,
        node=task.node or None,
        lost_with=task.lost_with or None,
        webhook=Webhook(state=task.webhook, tries=[WebhookTry(**attempt) for attempt in task.webhook_tries]),
    )


def _summary_fields(task: Task) -> dict[str, Any]:
    return {
        "task_uuid": task.task_uuid,
        "status": task.status,
        "priority": task.priority,
        "progress": task.progress,
        "attempt": task.attempt,
        "owner": task.owner or None,
        "created_at": iso_time(task.created_ms),
        "started_at": iso_time(task.started_ms),
        "finished_at": iso_time(task.finished_ms),
        "audio": without_secrets(task.audio),
        "error_message": task.error_message or None,
    }
