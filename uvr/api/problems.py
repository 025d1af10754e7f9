"""Error responses as RFC 9457 problem documents, with the additional `error` key that older clients read.

Every error is JSON with a sentence that names the invalid field; stack traces go to the log and never to a client. A
Redis that is down, loading, full or read-only results in a 503 and leaves nothing half done, because every change is
one script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil

import structlog
from flask import Flask, Response, g, has_app_context
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError
from redis import RedisError
from werkzeug.exceptions import HTTPException

from uvr.errors import TransientError, UserLimitError, UvrError

log = structlog.get_logger()

PROBLEM_TYPE = "application/problem+json"

_UNAVAILABLE_RETRY_AFTER_S = 5
_USER_LIMIT_RETRY_AFTER_S = 30  # it is unknown when the next task of a user starts; asking this often is enough

_DETAILS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not support this method; the Allow header lists those it does.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """The body of every error response (https://www.rfc-editor.org/rfc/rfc9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str
    errors: list[FieldError] = []
    request_id: str = ""


def request_id() -> str:
    """The id of the current request in the log, in the response and in the task that it creates; "" outside of one."""
    return str(g.get("request_id", "")) if has_app_context() else ""


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    retry_after_s: int | None = None,
) -> Response:
    """An error response. `detail` is a sentence that tells the client what is wrong and what to do."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        error=detail,
        errors=list(errors),
        request_id=request_id(),
    )
    response = Response(body.model_dump_json(), status, headers, mimetype=PROBLEM_TYPE)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def field_problem(status: int, field: str, message: str) -> Response:
    """An error response about one field, which `message` names."""
    return problem(status, message, errors=[FieldError(field=field, message=message)])


def bad_request(errors: Sequence[FieldError]) -> Response:
    """A 400 that names every invalid field."""
    return problem(HTTPStatus.BAD_REQUEST, " ".join(error.message for error in errors), errors=errors)


def validation_problem(error: ValidationError) -> Response:
    """A 400 for a request that does not match its schema."""
    return bad_request(field_errors(error))


def field_errors(error: ValidationError) -> list[FieldError]:
    """Every field that does not match its schema, with pydantic's message turned into a sentence.

    "Input should be a valid integer" becomes "priority must be a valid integer.".
    """
    found = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(map(str, fault["loc"])) or "body"
        text = fault["msg"].removeprefix("Value error, ").replace(" after validation,", ",")
        text = "is required" if text == "Field required" else re.sub(r"^(Input|String|List|Value) should", "must", text)
        found.append(FieldError(field=field, message=f"{field} {text}."))
    return found


def register_problems(app: Flask) -> None:
    """Make `app` answer every error with a problem document."""
    app.register_error_handler(Exception, problem_for)


def problem_for(error: Exception) -> Response | HTTPException:
    """The response to a request that ended with `error`, which is logged unless the client caused it."""
    if isinstance(error, HTTPException):
        return _http_problem(error)
    if isinstance(error, UserLimitError):
        return problem(HTTPStatus.TOO_MANY_REQUESTS, error.message, retry_after_s=_USER_LIMIT_RETRY_AFTER_S)
    if isinstance(error, ParseException):  # from the server, which parses a chunked body only as it is read
        message = "body ends early or its chunked encoding is not valid."
        return field_problem(HTTPStatus.BAD_REQUEST, "body", message)
    if isinstance(error, RedisError):
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        detail = "The queue cannot be reached or does not accept writes at the moment; try again shortly."
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=_UNAVAILABLE_RETRY_AFTER_S)
    if isinstance(error, UvrError):
        log.error("request.failed", error_kind=type(error).__name__, error=error.message)
        if isinstance(error, TransientError):
            retry_after_s = ceil(error.retry_after_s or _UNAVAILABLE_RETRY_AFTER_S)
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, retry_after_s=retry_after_s)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, error.message)
    log.error("request.broke", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "An internal error occurred; the log has the details.")


def _http_problem(error: HTTPException) -> Response | HTTPException:
    """The problem for an error of Flask or Werkzeug, with its headers; redirects and `abort(response)` as they are."""
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    detail = _DETAILS.get(HTTPStatus(error.code)) or error.description or HTTPStatus(error.code).phrase
    return problem(error.code, detail, headers=headers)
