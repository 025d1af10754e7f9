"""The part of the OpenAPI document about webhooks: what the service sends to receivers, with headers and examples."""

from __future__ import annotations

from typing import Any

from flask_openapi3.models import OPENAPI3_REF_TEMPLATE
from pydantic import BaseModel

from uvr.api.openapi_examples import example_of
from uvr.api.schemas.webhooks import TaskFailed, TaskNews, TaskSucceeded

_MODELS: dict[str, type[BaseModel]] = {
    "task_succeeded": TaskSucceeded,
    "task_failed": TaskFailed,
    "task_news": TaskNews,
}
_SIGNATURE = (
    "v1, and the HMAC-SHA256 of {webhook-id}.{webhook-timestamp}.{body} in base64, as in Standard Webhooks. The key is "
    "the part of the secret after whsec_, decoded from base64. There may be several signatures, separated by spaces: "
    "one of them must be right. Without a secret there is none."
)
_ID = "{task_uuid}.success or {task_uuid}.failed, the same for every attempt: ignore one that you know already"
_HEADERS = {
    "webhook-id": _ID,
    "webhook-timestamp": "seconds since 1970, of this attempt: refuse it if it is five minutes off",
    "webhook-signature": _SIGNATURE,
    "X-Request-ID": "of the request that submitted the task",
}
_REQUIRED = ("webhook-id", "webhook-timestamp")
_RESPONSES = {
    "2XX": {"description": "received; answer at once and do your work afterwards"},
    "4XX": {"description": "refused for good, except for 407, 408, 425 and 429"},
    "5XX": {"description": "to be sent again later"},
}


def webhooks(components: dict[str, Any]) -> dict[str, Any]:
    """The webhooks by name. Adds their schemas to `components`."""
    parameters = [
        {"name": name, "in": "header", "required": name in _REQUIRED, "description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.items()
    ]
    found = {}
    for name, model in _MODELS.items():
        schema = model.model_json_schema(ref_template=OPENAPI3_REF_TEMPLATE, mode="serialization")
        components[model.__name__] = schema
        reference = {"$ref": f"#/components/schemas/{model.__name__}"}
        media = {"schema": reference, "example": example_of(schema, components)}
        operation = {
            "summary": schema["description"],
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": media}},
            "responses": _RESPONSES,
            "security": [],
        }
        found[name] = {"post": operation}
    return found
