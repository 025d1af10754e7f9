"""What receivers of webhooks get, for the OpenAPI document. `uvr.webhooks.delivery` makes the payloads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from uvr.api.schemas.responses import IsoTime, Timestamp

TaskUuid = Annotated[str, Field(examples=["10ca2964-a404-4518-bdb7-3adc6b7431ac"])]
_LINK = (
    "https://stems.example.com/files/10ca2964-a404-4518-bdb7-3adc6b7431ac_{stem}.wav?expires=1795970761&signature=8f…"
)


class _Choices(BaseModel):
    """What the client chose in its request; a payload has each of these only if the request did."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[
        str | list[str], Field(description="what the model or preset of the request became; absent without one")
    ] = ""
    preset: Annotated[str, Field(description="the preset of the request; absent without one")] = ""
    metadata: Annotated[dict[str, str], Field(description="that of the request; absent without one")] = {}


class TaskSucceeded(_Choices):
    """The stems of the task are stored. Each stem is a key with its link; usual are vocals and instrumental."""

    task_uuid: TaskUuid
    status: Literal["success"]
    timestamp: Timestamp
    time: IsoTime
    vocals: Annotated[str, Field(description="link to the stem", examples=[_LINK.format(stem="vocals")])] = ""
    instrumental: Annotated[
        str, Field(description="link to the stem", examples=[_LINK.format(stem="instrumental")])
    ] = ""
    stems: Annotated[
        dict[str, str],
        Field(description="all stems by their names; only for requests with a model, stems, metadata, or in a list"),
    ] = {}


class TaskFailed(_Choices):
    """The task has failed for good."""

    task_uuid: TaskUuid
    status: Literal["failed"]
    timestamp: Timestamp
    time: IsoTime
    error_message: Annotated[str, Field(examples=["The URL leads to a web page titled “Sign in”, not to audio."])]


class TaskNews(_Choices):
    """A processor has started the task, or this is how far it is. Sent once, and only if `callback_events` says so."""

    task_uuid: TaskUuid
    status: Annotated[Literal["started", "progress"], Field(examples=["progress"])]
    timestamp: Timestamp
    time: IsoTime
    progress: Annotated[float, Field(description="from 0 to 1", examples=[0.42])]
