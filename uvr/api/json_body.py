"""JSON bodies: checked to be JSON objects within the size limit before a schema validates their fields."""

from __future__ import annotations

from http import HTTPStatus

from flask import abort, g, request
from pydantic_core import from_json

from uvr.api.problems import field_problem

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

    Ends the request with 415 for another Content-Type, 413 if the body is too large, 400 if it is not a JSON object.
    """
    if request.method == "OPTIONS":
        return
    if not request.is_json:
        message = "Content-Type must be application/json, or multipart/form-data to upload a file."
        abort(field_problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", message))
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
