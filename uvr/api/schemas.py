"""Requests and answers as models: what is accepted, what is promised, and the source of the OpenAPI document.

Requests are strict (`"3"` is no priority) and pass over fields they do not know, so that clients of a newer version are
understood. Answers name every field every time; what is not known yet is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from uvr.logs import without_secrets
from uvr.output_format import OutputFormat
from uvr.tasks import Status, Task, WebhookState, iso_time

MAX_URL_LENGTH = 8192
MAX_PAGE = 200

Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]


def _without_default(schema: JsonDict) -> None:
    schema.pop("default")


def _left_out(placeholder: Any) -> Any:
    """An optional field whose null is refused: `placeholder`, no valid value itself, stands for "not given"."""
    return Field(placeholder, json_schema_extra=_without_default)


class GenerateRequest(BaseModel):
    """A song to split."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    audio: Annotated[Url, Field(description="http(s) URL of the song", examples=["https://example.com/song.mp3"])]
    hook_url: Annotated[Url, Field(description="http(s) URL that is told how the task ended")] = _left_out("")
    priority: Annotated[int, Field(ge=1, le=5, description="1 goes last, 5 goes first")] = _left_out(0)
    # Strict would mean a member of the enum, which JSON does not have; its values are strict enough.
    output_format: Annotated[OutputFormat, Field(strict=False, description="the format of the stems")] = (
        OutputFormat.WAV
    )


class Accepted(BaseModel):
    """The task is queued and will not be lost."""

    message: Literal["Task has been queued for processing"] = "Task has been queued for processing"
    status: Literal["queued"] = "queued"
    task_uuid: str
    priority: int


class TaskPath(BaseModel):
    """The path of one task."""

    task_uuid: str


class TaskListQuery(BaseModel):
    """Which tasks to list."""

    status: Status | None = None
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
    created_at: str
    started_at: str | None
    finished_at: str | None
    audio: Annotated[str, Field(description="the song's URL, query string and credentials masked")]
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
    hook_url: Annotated[str | None, Field(description="masked like audio")]
    output_format: OutputFormat
    vocals: str | None
    instrumental: str | None
    stems: Annotated[dict[str, str], Field(description="stem name to link, on success")]
    stems_deleted_at: Annotated[str | None, Field(description="when the stems on disk had become too old")]
    facts: Annotated[
        dict[str, Any], Field(description="how the stems were made: model, provider, audio_s, gain, notes, …")
    ]
    node: Annotated[str | None, Field(description="the node that made the stems, where there are several")]
    lost_with: Annotated[str | None, Field(description="the node that was lost with the stems, so they are made again")]
    webhook: Webhook


class TaskList(BaseModel):
    """One page of tasks, latest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None


class FilePath(BaseModel):
    """The object key of a stem."""

    key: str


class FileQuery(BaseModel):
    """What makes a link to a stem valid; both come with the link."""

    expires: Annotated[str, Field(max_length=20)] = ""
    signature: Annotated[str, Field(max_length=128)] = ""


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
    timestamp: str
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
    timestamp: str
    components: PartsReadiness


def summary(task: Task) -> TaskSummary:
    """`task` as one of a list."""
    return TaskSummary(**_summary_fields(task))


def details(task: Task, *, position: int | None, links: Mapping[str, str]) -> TaskDetails:
    """`task` in full; `links` maps its stored stems to URLs."""
    return TaskDetails(
        **_summary_fields(task),
        position=position,
        hook_url=without_secrets(task.hook_url) or None,
        output_format=task.output_format,
        vocals=links.get("vocals"),
        instrumental=links.get("instrumental"),
        stems=dict(links),
        stems_deleted_at=iso_time(task.stems_deleted_ms),
        facts=task.facts,
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
        "created_at": iso_time(task.created_ms),
        "started_at": iso_time(task.started_ms),
        "finished_at": iso_time(task.finished_ms),
        "audio": without_secrets(task.audio),
        "error_message": task.error_message or None,
    }
