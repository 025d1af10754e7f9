"""JSON bodies: checked to be JSON objects within the size limit before a schema validates their fields.

The event loop has a body of this size before the request gets a thread. Only for a chunked one, whose chunks may be
tiny, a thread may have to wait; so it needs a slot like an upload.
"""

from __future__ import annotations

from contextlib import nullcontext
from http import HTTPStatus

from flask import abort, g, request
from pydantic_core import from_json

from uvr.api.auth.basic import current_user
from uvr.api.problems import field_problem
from uvr.api.services import services

MAX_JSON_BYTES = 64 * 1024

_TYPE_NAMES = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def require_json_object() -> None:
    """A `before_request` for endpoints that take JSON. The parsed object becomes `g.body`.

    Needs a user. Ends the request with 415 for another Content-Type, 413 if the body is too large, 400 if it is not a
    JSON object.
    """
    if request.method == "OPTIONS":
        return
    if not request.is_json:
        message = "Content-Type must be application/json, or multipart/form-data to upload a file."
        abort(field_problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", message))
    is_chunked = "Transfer-Encoding" in request.headers
    with services().upload_slots.take(current_user().name) if is_chunked else nullcontext():
        text = request.get_data()
    # Flask refuses a body whose announced length exceeds the limit, but cuts one off that does not announce its length.
    if len(text) >= MAX_JSON_BYTES:
        abort(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        # Unlike the standard library's parser, this one refuses deep nesting and lone surrogates.
        body = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", f"body is not valid JSON: {error}."))
    if not isinstance(body, dict):
        message = f"body must be a JSON object, not {_TYPE_NAMES[type(body)]}."
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", message))
    g.body = body
