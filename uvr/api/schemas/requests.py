"""Request bodies, headers and queries as models: what is accepted, and what an error says."""

from __future__ import annotations

import math
import re
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from uvr.audio.output_format import OutputFormat
from uvr.tasks.model import Status, WebhookState
from uvr.tasks.store import TaskFilter

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


class TaskPath(BaseModel):
    """The path of one task."""

    task_uuid: str


def _with_plus(value: object) -> object:
    """In a query a bare + is a space, and times with an offset have one."""
    return re.sub(r"(T\S+) (?=\d\d:?\d\d$)", r"\1+", value) if isinstance(value, str) else value


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


class FilePath(BaseModel):
    """The object key of a stem."""

    key: str


class FileQuery(Parameters):
    """What makes a link to a stem valid; both come with the link."""

    expires: Annotated[str, Field(max_length=20)] = _left_out("")
    signature: Annotated[str, Field(max_length=128)] = _left_out("")


def wanted(query: TaskListQuery) -> TaskFilter:
    """Which tasks the client asks for."""
    return TaskFilter(
        status=Status(query.status) if query.status else None,
        priority=query.priority,
        webhook=query.webhook,
        since_ms=_ms(query.created_since),
        until_ms=_ms(query.created_until),
    )


def _ms(time: datetime | None) -> int:
    return max(1, math.floor(time.timestamp() * 1000)) if time else 0
