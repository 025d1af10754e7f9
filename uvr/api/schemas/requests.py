"""Request bodies, headers, paths and queries as pydantic models.

Bodies are strict: `"3"` is not a priority. The models ignore unknown fields, so that clients of a newer version are
understood. `uvr.api.unknown_fields` refuses near misses of known ones; it warns about other unknown fields of a body,
while other unknown parameters of GET /tasks are ignored. Descriptions and examples end up in the OpenAPI document.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    WithJsonSchema,
    field_validator,
)
from pydantic.config import JsonDict
from pydantic_core import from_json

from uvr.audio.output_format import OutputFormat
from uvr.models.presets import MAX_ENSEMBLE
from uvr.tasks.model import Status, WebhookState
from uvr.tasks.store import TaskFilter

MAX_URL_LENGTH = 8192
MAX_PAGE = 200
MAX_NAME_LENGTH = 200
MAX_STEMS = 32
MAX_METADATA_BYTES = 4096
MAX_SONGS = 100
"""In one request."""

Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
_NAME_SCHEMA: JsonDict = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH}
CallbackEvent = Literal["started", "progress", "completed"]
COMPLETED: CallbackEvent = "completed"


def _without_default(schema: JsonDict) -> None:
    schema.pop("default")


def _optional(placeholder: Any) -> Any:
    """An optional field that refuses null. `placeholder`, itself not a valid value, means that the field is absent."""
    return Field(placeholder, json_schema_extra=_without_default)


def _as_list(value: object) -> object:
    """A single name as a list."""
    if not isinstance(value, str | list):
        raise ValueError("must be a string or a list of strings")  # noqa: TRY004  # pydantic expects it
    if value == "":
        raise ValueError("must have at least 1 character")
    return [value] if isinstance(value, str) else value


def _checked_metadata(value: object) -> object:
    """A small object of strings. pydantic would report each wrong value by its key, however many and long they are."""
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object of strings")  # noqa: TRY004  # pydantic expects it
    if wrong := [key for key, text in value.items() if not isinstance(text, str)]:
        raise ValueError(f'must have only strings as values, which that of "{wrong[0][:MAX_NAME_LENGTH]}" is not')
    size_bytes = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size_bytes > MAX_METADATA_BYTES:
        raise ValueError(f"must have at most {MAX_METADATA_BYTES} bytes as JSON in UTF-8, not {size_bytes}")
    return value


class GenerateRequest(BaseModel):
    """A song to separate, by its URL."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    audio: Annotated[Url, Field(description="http(s) URL of the song", examples=["https://example.com/song.mp3"])]
    hook_url: Annotated[
        Url,
        Field(
            description="http(s) URL that receives a webhook when the task ends",
            examples=["https://example.com/hook"],
        ),
    ] = _optional("")
    priority: Annotated[int, Field(ge=1, le=5, description="1 (lowest) to 5 (highest)", examples=[5])] = _optional(0)
    callback_events: Annotated[
        list[CallbackEvent],
        Field(max_length=10, description="the events that hook_url receives; completed is always sent"),
    ] = [COMPLETED]
    # Strict mode would require a member of the enum, which JSON does not have. Its values are strict enough.
    output_format: Annotated[OutputFormat, Field(strict=False, description="file format of the stems")] = (
        OutputFormat.WAV
    )
    model: Annotated[
        list[Name],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=MAX_ENSEMBLE),
        WithJsonSchema(
            {
                "description": "a model or preset that is offered (GET /models), instead of the default model; of "
                f"several models, at most {MAX_ENSEMBLE}, the stems are averaged",
                "anyOf": [
                    _NAME_SCHEMA,
                    {"type": "array", "items": _NAME_SCHEMA, "minItems": 1, "maxItems": MAX_ENSEMBLE},
                ],
            }
        ),
    ] = _optional([])
    stems: Annotated[
        list[Name],
        Field(min_length=1, max_length=MAX_STEMS, description="the only stems to store; all others are left out"),
    ] = _optional([])
    metadata: Annotated[
        dict[str, str],
        BeforeValidator(_checked_metadata),
        Field(
            description=f"your own data, at most {MAX_METADATA_BYTES} bytes as JSON; tasks and webhooks repeat it",
            examples=[{"order": "4711"}],
        ),
    ] = _optional({})


Songs = Annotated[list[GenerateRequest], Field(min_length=1, max_length=MAX_SONGS)]


class OneOrManySongs(RootModel[GenerateRequest | Songs]):
    """A song to separate, or several in one request."""


class GenerateForm(GenerateRequest):
    """A song to separate, uploaded as a file."""

    model_config = ConfigDict(strict=False)  # every value in a form is text

    audio: Annotated[Any, WithJsonSchema({"type": "string", "format": "binary", "description": "the song, as a file"})]
    callback_events: Annotated[
        list[CallbackEvent],
        Field(max_length=10, json_schema_extra=_without_default),
        WithJsonSchema({"type": "string", "description": "the events that hook_url receives, separated by commas"}),
    ] = [COMPLETED]

    model: Annotated[
        list[Name],
        Field(min_length=1, max_length=MAX_ENSEMBLE),
        WithJsonSchema({"type": "string", "description": "a model or preset; or several models, separated by commas"}),
    ] = _optional([])
    stems: Annotated[
        list[Name],
        Field(min_length=1, max_length=MAX_STEMS),
        WithJsonSchema({"type": "string", "description": "the only stems to store, separated by commas"}),
    ] = _optional([])
    metadata: Annotated[
        dict[str, str],
        BeforeValidator(_checked_metadata),
        WithJsonSchema({"type": "string", "description": "your own data, a JSON object of strings"}),
    ] = _optional({})

    @field_validator("audio")
    @classmethod
    def require_file(cls, audio: object) -> object:
        """Refuse text: in a form, `audio` must be a `uvr.api.multipart.SentFile`."""
        if isinstance(audio, str):
            raise ValueError("must be a file, with a file name, in a form")  # noqa: TRY004  # pydantic expects it
        return audio

    @field_validator("callback_events", "model", "stems", mode="before")
    @classmethod
    def split_at_commas(cls, value: object) -> object:
        """Turn the text of a form field into a list."""
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("metadata", mode="before")
    @classmethod
    def parse_json(cls, value: object) -> object:
        """Turn the text of a form field into an object."""
        try:
            return from_json(value, allow_inf_nan=False) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"must be a JSON object of strings: {error}") from error


class Parameters(BaseModel):
    """Headers or query parameters.

    flask-openapi3 asks for the JSON schema at every request. Generating it would take a fifth of the time of a
    POST /generate, so it is cached.
    """

    @classmethod
    @cache
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """The schema, generated once."""
        return super().model_json_schema(*arguments, **options)


class GenerateHeader(Parameters):
    """The optional headers of POST /generate."""

    idempotency_key: Annotated[
        str,
        Field(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[ -~]+$",
            description="identifies the request: within 24 hours, sending it again creates no second task",
        ),
    ] = _optional("")


class TaskPath(BaseModel):
    """The path of one task."""

    task_uuid: str


class TaskChange(BaseModel):
    """What to change about a task."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    priority: Annotated[int, Field(ge=1, le=5, description="1 (lowest) to 5 (highest)", examples=[5])]


class StemPath(TaskPath):
    """The path of one stem of a task."""

    name: Annotated[str, Field(description="name of the stem, such as vocals")]


class PeaksQuery(Parameters):
    """Which peaks of a task, and in which form."""

    stem: Annotated[str, Field(max_length=MAX_NAME_LENGTH, description="name of the stem, such as vocals")]
    resolution: Annotated[
        Literal["coarse", "fine"], Field(description="8192 samples for each pair of values, or 512")
    ] = "coarse"
    format: Annotated[
        Literal["dat", "json"], Field(description="audiowaveform's binary format, version 2, or its JSON")
    ] = "dat"


StatusFilter = Literal["queued", "processing", "uploading", "success", "failed", "cancelled"]


class TaskListQuery(Parameters):
    """The filters and the page of GET /tasks."""

    status: StatusFilter | None = None
    priority: Annotated[int | None, Field(ge=1, le=5)] = None
    webhook: Annotated[WebhookState | None, Field(description="state of the webhook")] = None
    batch: Annotated[
        str, Field(pattern=r"^[0-9a-zA-Z-]{0,64}$", description="only tasks that were submitted in this list")
    ] = ""
    created_since: Annotated[AwareDatetime | None, Field(description="submitted at this time or later")] = None
    created_until: Annotated[AwareDatetime | None, Field(description="submitted before this time")] = None
    cursor: Annotated[
        str, Field(pattern=r"^([0-9]{1,15}:[0-9a-zA-Z-]{1,64})?$", description="next_cursor of the previous page")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50

    @field_validator("created_since", "created_until", mode="before")
    @classmethod
    def restore_plus(cls, time: object) -> object:
        """Put back the + of a UTC offset, which a query turns into a space."""
        return re.sub(r"(T\S+) (?=\d\d:?\d\d$)", r"\1+", time) if isinstance(time, str) else time

    def to_filter(self) -> TaskFilter:
        """The filter for the task store. It has no cursor, limit or owner."""
        return TaskFilter(
            status=Status(self.status) if self.status else None,
            priority=self.priority,
            webhook=self.webhook,
            batch=self.batch,
            since_ms=_ms(self.created_since),
            until_ms=_ms(self.created_until),
        )


class FeedQuery(Parameters):
    """Which tasks GET /events follows."""

    own: Annotated[bool, Field(description="true: only your own tasks, although you are the admin")] = False


def _ms(time: datetime | None) -> int:
    """Milliseconds since 1970, at least 1 because 0 means that there is no limit."""
    return max(1, math.floor(time.timestamp() * 1000)) if time else 0


class FilePath(BaseModel):
    """The object key of a stem."""

    key: str


class FileQuery(Parameters):
    """Expiry and signature of a link to a stem. The link contains both."""

    expires: Annotated[str, Field(max_length=20)] = _optional("")
    signature: Annotated[str, Field(max_length=128)] = _optional("")
