"""JSON bodies, checked for being JSON objects of a decent size before any schema sees them."""

from __future__ import annotations

from http import HTTPStatus

from flask import abort, g, request
from pydantic_core import from_json

from uvr.api.problems import field_problem

MAX_JSON_BYTES = 64 * 1024

_KINDS = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


def require_json_object() -> None:
    """A `before_request` for endpoints that take JSON: 413, 415 or 400 unless the body is a JSON object, `g.body`."""
    if request.method == "OPTIONS":
        return
    if not request.is_json:
        message = "Content-Type must be application/json, or multipart/form-data for a song that is sent along."
        abort(field_problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", message))
    text = request.get_data()
    # A body that does not announce its length is cut off at the limit instead of being refused.
    if len(text) >= MAX_JSON_BYTES:
        abort(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        # Unlike the standard library's parser this one takes deep nesting and half surrogates for faults, not for text.
        body = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", f"body is not valid JSON: {error}."))
    if not isinstance(body, dict):
        message = f"body must be a JSON object, not {_KINDS[type(body)]}."
        abort(field_problem(HTTPStatus.BAD_REQUEST, "body", message))
    g.body = body
