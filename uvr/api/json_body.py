"""JSON bodies: checked to be JSON objects within the size limit before a schema validates their fields.

The event loop has a body of this size before the request gets a thread. Only for a larger list of objects, and for a
chunked body, whose chunks may be tiny, a thread may have to wait; so these need a slot like an upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any, TypeVar

from flask import abort, g, request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from uvr.api.auth.basic import current_user
from uvr.api.problems import bad_request, field_errors, field_problem
from uvr.api.services import services
from uvr.api.unknown_fields import UnknownFields

Body = TypeVar("Body", bound=BaseModel)

MAX_JSON_BYTES = 64 * 1024
MAX_LIST_BYTES = 1024 * 1024
"""Of a list of objects."""

_TYPE_NAMES = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def require_json(*, or_form: bool = False, or_list: bool = False) -> None:
    """A `before_request` for endpoints that take a JSON object. The parsed object becomes `g.body`.

    Needs a user. Ends the request with 415 for another Content-Type, 413 if the body is too large, 400 if it is not a
    JSON object. `or_list` accepts a larger list as well, `or_form` says that the endpoint also takes forms.
    """
    if request.method == "OPTIONS":
        return
    if not request.is_json:
        form = ", or multipart/form-data to upload a file" if or_form else ""
        message = f"Content-Type must be application/json{form}."
        abort(field_problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", message))
    text = _received_text(MAX_LIST_BYTES if or_list else MAX_JSON_BYTES)
    try:
        # Unlike the standard library's parser, this one refuses deep nesting and lone surrogates.
        body = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", f"body is not valid JSON: {error}."))
    is_list = or_list and isinstance(body, list)
    if not is_list and len(text) >= MAX_JSON_BYTES:
        abort(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if not is_list:
        require_object(body, "body")
    g.body = body


def require_object(value: object, field: str) -> None:
    """End the request with a 400 if `value` is not a JSON object; `field` is where it is."""
    if not isinstance(value, dict):
        message = f"{field} must be a JSON object, not {_TYPE_NAMES[type(value)]}."
        abort(field_problem(HTTPStatus.BAD_REQUEST, field, message))


def validated(model: type[Body], values: Mapping[str, Any]) -> Body:
    """The body as a `model`; ends the request with a 400 if it is none. `g.warnings` names the fields it ignored."""
    unknown = UnknownFields(model, values)
    try:
        body = model.model_validate(values)
    except ValidationError as error:
        # A missing field with a near miss is reported once, by the near miss.
        errors = [fault for fault in field_errors(error) if fault.field not in unknown.near_misses.values()]
        abort(bad_request([*errors, *unknown.errors]))
    if unknown.errors:
        abort(bad_request(unknown.errors))
    g.warnings = unknown.warnings
    return body


def _received_text(max_bytes: int) -> bytes:
    """The body. Ends the request with a 413 if it has `max_bytes` or more."""
    request.max_content_length = max_bytes
    may_have_to_wait = "Transfer-Encoding" in request.headers or (request.content_length or 0) >= MAX_JSON_BYTES
    with services().upload_slots.take(current_user().name) if may_have_to_wait else nullcontext():
        text = request.get_data()
    # Flask refuses a body whose announced length exceeds the limit, but cuts one off that does not announce its length.
    if len(text) >= max_bytes:
        abort(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return text
