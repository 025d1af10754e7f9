"""Requests and answers as models: what is accepted, what is promised, and the source of the OpenAPI document.

Requests are strict (`"3"` is no priority) and pass over fields they do not know, so that clients of a newer version are
understood; `unknown_fields` says what the client hears about them. Answers name every field every time; what is not
known yet is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from uvr.audio.output_format import OutputFormat
from uvr.logs import without_secrets
from uvr.tasks.model import Status, Task, WebhookState
from uvr.timestamps import iso_time


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


Timestamp = Annotated[int, Field(description="seconds since 1970", examples=[1795365961])]
IsoTime = Annotated[str, Field(description="the same in ISO 8601, UTC", examples=["2026-11-22T16:46:01.542Z"])]


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
