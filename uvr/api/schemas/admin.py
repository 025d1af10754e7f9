"""Bodies and queries of /admin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from uvr.api.schemas.requests import MAX_PAGE, Parameters
from uvr.tasks.broker import Kind


class PrioritySize(BaseModel):
    """The waiting items of one priority."""

    priority: int
    waiting: int
    oldest_s: Annotated[int, Field(description="for how many seconds the first of them has waited; 0 if none waits")]


class QueueSize(BaseModel):
    """One queue."""

    queue: Kind
    node: Annotated[str | None, Field(description="the node whose results these are, if there are several")]
    waiting: int
    leased: Annotated[int, Field(description="items that a worker works on")]
    delayed: Annotated[int, Field(description="items that wait for a retry")]
    dead: Annotated[int, Field(description="dead letters")]
    priorities: Annotated[list[PrioritySize], Field(description="the highest first")]


class LiveWorker(BaseModel):
    """A worker process that is alive, with the facts that it announces, such as model, provider, storage and paused."""

    model_config = ConfigDict(extra="allow")

    kind: Annotated[str, Field(examples=["processor"])]
    name: Annotated[str, Field(description="host name and process id", examples=["studio:4711"])]
    disks: Annotated[
        dict[str, dict[str, int]],
        Field(
            description="for each of its folders free_bytes, and min_free_bytes, below which it pauses",
            examples=[{"OUTPUT_DIR": {"free_bytes": 53687091200, "min_free_bytes": 2147483648}}],
        ),
    ]


class NodeSilence(BaseModel):
    """A node, with the seconds since the last heartbeat of its processor and of its uploader; null for none."""

    node: Annotated[str | None, Field(description="null for the workers without a NODE_ID")]
    processor_s: float | None
    uploader_s: float | None


class RedisState(BaseModel):
    """The Redis server; null for what it does not show."""

    server: Annotated[str | None, Field(examples=["Valkey 9.1.2"])]
    used_bytes: int | None
    max_bytes: Annotated[int | None, Field(description="maxmemory; null without a limit")]
    clients: int | None
    up_s: int | None


class Overview(BaseModel):
    """The whole service at one moment."""

    tasks: Annotated[dict[str, int], Field(description="number of tasks by status", examples=[{"queued": 3}])]
    queues: list[QueueSize]
    workers: list[LiveWorker]
    nodes: list[NodeSilence]
    redis: RedisState


class DeadLetterEntry(BaseModel):
    """A task that was given up."""

    task_uuid: str
    queue: Kind
    node: str | None
    buried_at: str | None
    failures: int
    crashes: int
    error_message: str


class DeadLetterList(BaseModel):
    """A part of all dead letters: the newest of each queue first."""

    dead_letters: list[DeadLetterEntry]
    total: Annotated[int, Field(description="how many there are in these queues")]


class BroughtBack(BaseModel):
    """The task has been queued again where it had failed."""

    message: Literal["Task has been queued again"] = "Task has been queued again"
    task_uuid: str


class DeadLetterQuery(Parameters):
    """In which queues to look."""

    queue: Annotated[Kind | None, Field(description="only this queue; all of them without it")] = None


class DeadLetterListQuery(DeadLetterQuery):
    """Which dead letters to list."""

    start: Annotated[int, Field(ge=0, le=10**9, description="how many to leave out")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
