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


class NodeSilence(BaseModel):
    """A node, with the seconds since the last heartbeat of its processor and of its uploader; null for none."""

    node: Annotated[str | None, Field(description="null for the workers without a NODE_ID")]
    processor_s: float | None
    uploader_s: float | None


class DiskSpace(BaseModel):
    """The disk of one folder of one process. Several folders may be on the same disk."""

    kind: Annotated[str, Field(description="processor, uploader or api", examples=["processor"])]
    name: Annotated[str, Field(description="host name and process id", examples=["studio:4711"])]
    node: Annotated[str | None, Field(description="the NODE_ID of the process; null without one")]
    folder: Annotated[str, Field(description="the variable that sets the folder", examples=["OUTPUT_DIR"])]
    free_bytes: Annotated[int, Field(examples=[81_604_378_624])]
    total_bytes: Annotated[int, Field(examples=[214_748_364_800])]
    min_free_bytes: Annotated[
        int,
        Field(description="MIN_FREE_BYTES, with less than which processors begin no task; 0 if not checked here"),
    ]


class StorageState(BaseModel):
    """Where stems and uploaded songs are stored, and whether uploaders can store them."""

    kind: Literal["s3", "local"]
    bucket: Annotated[str | None, Field(description="S3_BUCKET_NAME; null for a storage on disk", examples=["stems"])]
    endpoint: Annotated[
        str | None,
        Field(description="S3_ENDPOINT_URL; null if it is not set", examples=["https://s3.eu-central-1.amazonaws.com"]),
    ]
    folder: Annotated[
        str | None, Field(description="the folder of a storage on disk; null for a bucket", examples=[None])
    ]
    usable: Annotated[
        bool | None, Field(description="whether an uploader can store files; null while no uploader runs")
    ]
    problem: Annotated[
        str | None, Field(description="why uploaders cannot store files, a sentence; null without a problem")
    ]
    stored_bytes: Annotated[
        int | None,
        Field(
            description="size of all stored stems; null for a bucket, and for more than 10,000 files", examples=[None]
        ),
    ]


class RedisState(BaseModel):
    """The Redis server; null for what it does not show."""

    server: Annotated[str | None, Field(examples=["Valkey 9.1.2"])]
    used_bytes: Annotated[int | None, Field(examples=[1_837_000])]
    max_bytes: Annotated[int | None, Field(description="maxmemory; null without a limit", examples=[536_870_912])]
    clients: int | None
    up_s: Annotated[int | None, Field(examples=[86_400])]
    appendfsync: Annotated[
        str | None,
        Field(description="when it writes to its disk; off without an append-only file", examples=["always"]),
    ]
    saved_s: Annotated[int | None, Field(description="seconds since the last snapshot on its disk")]
    writes_fail: Annotated[
        bool | None,
        Field(description="whether the last snapshot or write to the append-only file failed", examples=[False]),
    ]
    risks: Annotated[
        list[str], Field(description="how accepted tasks may be lost with these settings, in sentences", examples=[[]])
    ]


class Overview(BaseModel):
    """The whole service at one moment."""

    tasks: Annotated[dict[str, int], Field(description="number of tasks by status", examples=[{"queued": 3}])]
    queues: list[QueueSize]
    workers: list[LiveWorker]
    nodes: list[NodeSilence]
    disks: Annotated[
        list[DiskSpace], Field(description="of the workers, as they announce them, and of the process that answers")
    ]
    storage: StorageState
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
