"""Response bodies as pydantic models, and the functions that turn a task into one.

Every response has all its fields every time; a value that is not known yet is null. Only what belongs to a field of the
request that old clients do not send is absent if the request did not have it. Fields may be added but are never
renamed. Descriptions and examples end up in the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from uvr.audio.output_format import OutputFormat
from uvr.logs import without_secrets
from uvr.tasks.model import Status, Task, WebhookState
from uvr.timestamps import iso_time
from uvr.webhooks.user_secrets import UserSecret


class FieldWarning(BaseModel):
    """A field of the request that was ignored."""

    field: str
    message: str


def _absent(value: object) -> bool:
    return not value


ChosenModel = Annotated[
    str | list[str] | None,
    Field(
        exclude_if=_absent,
        description="the model that the request chose, or of several a list; absent if it chose none",
        examples=["UVR-MDX-NET-Voc_FT"],
    ),
]
ChosenPreset = Annotated[
    str, Field(exclude_if=_absent, description="the preset that the model was taken from; absent if there was none")
]


class Accepted(BaseModel):
    """The task has been queued and will not be lost."""

    message: Literal["Task has been queued for processing"] = "Task has been queued for processing"
    status: Literal["queued"] = "queued"
    task_uuid: str
    priority: int
    model: ChosenModel = None
    preset: ChosenPreset = ""
    warnings: Annotated[
        list[FieldWarning],
        Field(
            exclude_if=_absent,
            description="unknown fields that were ignored, at most 20; absent if there are none",
        ),
    ] = []


class QueuedTask(BaseModel):
    """One task of a batch."""

    task_uuid: str
    priority: int
    model: ChosenModel = None
    preset: ChosenPreset = ""


class AcceptedBatch(BaseModel):
    """All tasks of a list have been queued and will not be lost. They are in the order of the list."""

    message: Literal["Tasks have been queued for processing"] = "Tasks have been queued for processing"
    status: Literal["queued"] = "queued"
    batch: Annotated[str, Field(description="what GET /tasks finds the tasks by")]
    tasks: list[QueuedTask]
    warnings: Annotated[
        list[FieldWarning],
        Field(
            exclude_if=lambda warnings: not warnings,
            description="unknown fields that were ignored, at most 20; absent if there are none",
        ),
    ] = []


class AcceptedOneOrMany(RootModel[Accepted | AcceptedBatch]):
    """The answer to one song, or to a list."""


Timestamp = Annotated[int, Field(description="seconds since 1970", examples=[1795365961])]
IsoTime = Annotated[str, Field(description="the same time in ISO 8601, UTC", examples=["2026-11-22T16:46:01.542Z"])]


class TaskSummary(BaseModel):
    """One task in a list. Times are ISO 8601 in UTC; `progress` runs from 0 to 1."""

    task_uuid: str
    status: Status
    priority: int
    progress: float
    attempt: Annotated[int, Field(description="how often a processor has started it")]
    owner: Annotated[
        str | None, Field(description="user who submitted it; null for tasks submitted before there were users")
    ]
    created_at: str
    started_at: str | None
    finished_at: str | None
    audio: Annotated[
        str, Field(description="the song's URL with query and credentials masked, or the name of the uploaded file")
    ]
    error_message: str | None
    model: ChosenModel = None
    preset: ChosenPreset = ""
    metadata: Annotated[
        dict[str, str], Field(exclude_if=_absent, description="that of the request; absent if it had none")
    ] = {}
    batch: Annotated[
        str,
        Field(exclude_if=lambda batch: not batch, description="the list it was submitted in; absent if it came alone"),
    ] = ""


class TaskEvent(BaseModel):
    """The state of a task, as one event of a stream."""

    task_uuid: str
    status: Status
    progress: float
    attempt: int
    position: int | None
    eta_s: int | None
    error_message: str | None


class FeedTask(TaskSummary):
    """One task in the stream of all tasks."""

    position: Annotated[
        int | None,
        Field(description="number of tasks that go before this one; null if it does not wait, or if many of yours do"),
    ]
    eta_s: Annotated[int | None, Field(description="estimated seconds until the stems are made")]
    webhook: WebhookState
    stems: Annotated[list[str], Field(description="the names of the stems that can be downloaded")]
    stems_deleted_at: Annotated[str | None, Field(description="when the stems on disk expired and were deleted")]


class WebhookTry(BaseModel):
    """One delivery attempt of the webhook called `webhook_id`."""

    webhook_id: str = ""
    at: str = ""
    status_code: int | None = None
    duration_ms: int = 0
    error: str = ""
    outcome: str = ""


class Webhook(BaseModel):
    """The state of the task's webhook."""

    state: WebhookState
    tries: Annotated[list[WebhookTry], Field(description="the latest delivery attempts")]


class Redelivery(BaseModel):
    """The webhook has been queued and will be sent again."""

    message: Literal["Webhook has been queued for delivery"] = "Webhook has been queued for delivery"
    task_uuid: str
    webhook_id: Annotated[str, Field(description="the same as in earlier attempts")]


Fingerprint = Annotated[
    str, Field(description="the first 12 hex digits of the secret's SHA-256", examples=["9f2b6c1d0a4e"])
]


class ReplacedSecret(BaseModel):
    """A webhook secret that was replaced and still signs."""

    fingerprint: Fingerprint
    signs_until: str


class WebhookSecret(BaseModel):
    """What is known about a user's own webhook secret, apart from the secret itself."""

    is_set: Annotated[bool, Field(description="false: the secret of the service signs, if it has one")]
    created_at: str | None
    fingerprint: Fingerprint | None
    replaced: Annotated[
        list[ReplacedSecret], Field(description="earlier secrets, each of which signs as well for a day")
    ]


class NewWebhookSecret(WebhookSecret):
    """A webhook secret that was made just now."""

    secret: Annotated[
        str,
        Field(
            description="to be kept by you and given to your receivers; it is not shown again",
            examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="],
        ),
    ]


class TaskDetails(TaskSummary):
    """One task in full. Links to stems are created for each response and expire."""

    position: Annotated[int | None, Field(description="number of tasks that go before this one, while it is queued")]
    eta_s: Annotated[int | None, Field(description="estimated seconds until the stems are made")]
    hook_url: Annotated[str | None, Field(description="masked like audio")]
    output_format: OutputFormat
    vocals: str | None
    instrumental: str | None
    stems: Annotated[dict[str, str], Field(description="link of each stem by its name, on success")]
    stems_deleted_at: Annotated[str | None, Field(description="when the stems on disk expired and were deleted")]
    facts: Annotated[
        dict[str, Any], Field(description="how the stems were made: model, provider, precision, audio_s, notes, …")
    ]
    request_id: Annotated[
        str | None, Field(description="X-Request-ID of the request that submitted it; also in logs and webhooks")
    ]
    node: Annotated[str | None, Field(description="the node that made the stems, if there are several")]
    lost_with: Annotated[
        str | None, Field(description="the node that was lost with the stems, which are therefore made again")
    ]
    webhook: Webhook
    wanted_stems: Annotated[
        list[str],
        Field(exclude_if=_absent, description="the stems that the request asked for; absent if it wants all"),
    ] = []


class TaskList(BaseModel):
    """One page of tasks, newest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None


class ModelEntry(BaseModel):
    """One model. What is not known about it is null or empty."""

    name: str
    title: Annotated[str, Field(description="its name in the menus of UVR")]
    architecture: str
    engine: Annotated[
        Literal["mdx", "roformer", "audio-separator"],
        Field(description="the engine that runs it; mdx and roformer are the service's own"),
    ]
    primary_stem: str | None
    license: str
    size_bytes: int | None
    downloadable: Annotated[bool, Field(description="false if its file must be put in place by hand")]
    sdr_db: Annotated[dict[str, float], Field(description="median signal-to-distortion ratio of each stem by its name")]
    in_use: Annotated[bool, Field(description="whether a running processor has loaded it")]
    stems: Annotated[list[str], Field(description="the names of the stems that it gives, the main one first")]
    commercial_use: Annotated[
        Literal["allowed", "not allowed", "unknown"],
        Field(description="whether its authors are known to allow commercial use"),
    ]
    quality_source: Annotated[str | None, Field(description="who measured sdr_db, and with which songs")]
    quality_songs: Annotated[int | None, Field(description="the number of these songs")]
    is_here: Annotated[bool, Field(description="whether the processors have its files")]
    offered: Annotated[bool, Field(description="whether POST /generate accepts it")]
    device: Annotated[str | None, Field(description="what it ran on: cpu, cuda, coreml")]
    memory_bytes: Annotated[int | None, Field(description="the memory that it needed")]
    load_s: Annotated[float | None, Field(description="the seconds that it took to load")]
    seconds_per_audio_second: Annotated[
        float | None, Field(description="its usual speed on these processors, from finished tasks")
    ]


class PresetEntry(BaseModel):
    """One preset."""

    name: str
    purpose: str
    offered: Annotated[bool, Field(description="whether POST /generate accepts it, because one of its models is here")]
    model: Annotated[str | list[str] | None, Field(description="the model that a request gets now; a list is averaged")]
    options: Annotated[list[list[str]], Field(description="its models, the preferred one first; several are averaged")]


class ModelList(BaseModel):
    """The catalogue of models, with what processors have announced about their own."""

    models: list[ModelEntry]
    in_use: Annotated[
        list[str], Field(description="models that running processors have loaded, including the operator's own")
    ]
    default: Annotated[str, Field(description="the model of requests that choose none")]
    presets: list[PresetEntry]


class WorkerHealth(BaseModel):
    """The workers of one kind, with the facts that they announce (model, provider, storage)."""

    model_config = ConfigDict(extra="allow")

    status: Literal["up", "down", "unknown"]
    workers: int


class Components(BaseModel):
    """The state of each component. That of workers is unknown while Redis is down."""

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
    """Whether one component can do its work now, with a sentence that says why not."""

    status: Literal["up", "down", "paused", "unknown"]
    message: str | None


class PartsReadiness(BaseModel):
    """The components that a task passes through."""

    redis: PartReadiness
    processor: PartReadiness
    uploader: PartReadiness


class Readiness(BaseModel):
    """Whether a task submitted now would be accepted and processed."""

    status: Literal["ready", "not ready"]
    timestamp: Timestamp
    time: IsoTime
    components: PartsReadiness


def task_summary(task: Task) -> TaskSummary:
    """`task` as one of a list."""
    return TaskSummary(
        task_uuid=task.task_uuid,
        status=task.status,
        priority=task.priority,
        progress=task.progress,
        attempt=task.attempt,
        owner=task.owner or None,
        created_at=iso_time(task.created_ms) or "",
        started_at=iso_time(task.started_ms),
        finished_at=iso_time(task.finished_ms),
        audio=without_secrets(task.audio),
        error_message=task.error_message or None,
        model=task.chosen_model,
        preset=task.preset,
        metadata=task.metadata,
        batch=task.batch,
    )


def task_details(task: Task, *, position: int | None, eta_s: int | None, links: Mapping[str, str]) -> TaskDetails:
    """`task` in full. `links` maps the names of its stored stems to URLs."""
    return TaskDetails(
        **dict(task_summary(task)),
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
        wanted_stems=task.wanted_stems,
    )


_MAX_FEED_AUDIO_LENGTH = 300


def feed_task(task: Task, *, position: int | None, eta_s: int | None) -> FeedTask:
    """`task` in the stream of all tasks. A long URL is cut: there may be thousands of them."""
    summary = task_summary(task)
    if len(summary.audio) > _MAX_FEED_AUDIO_LENGTH:
        summary.audio = f"{summary.audio[:_MAX_FEED_AUDIO_LENGTH]}…"
    return FeedTask(
        **dict(summary),
        position=position,
        eta_s=eta_s,
        webhook=task.webhook,
        stems=list(task.stems) if task.status is Status.SUCCESS and not task.stems_deleted_ms else [],
        stems_deleted_at=iso_time(task.stems_deleted_ms),
    )


def task_event(task: Task, *, position: int | None, eta_s: int | None) -> TaskEvent:
    """The present state of `task`, as an event of a stream."""
    return TaskEvent(
        task_uuid=task.task_uuid,
        status=task.status,
        progress=task.progress,
        attempt=task.attempt,
        position=position,
        eta_s=eta_s,
        error_message=task.error_message or None,
    )


def webhook_secret(secrets: Sequence[UserSecret]) -> WebhookSecret:
    """A user's secrets that sign now, the current one first, without the secrets themselves."""
    current = secrets[0] if secrets else None
    return WebhookSecret(
        is_set=current is not None,
        created_at=iso_time(current.made_ms) if current else None,
        fingerprint=current.fingerprint if current else None,
        replaced=[
            ReplacedSecret(fingerprint=secret.fingerprint, signs_until=iso_time(secret.until_ms or 0) or "")
            for secret in secrets[1:]
            if secret.text
        ],
    )
