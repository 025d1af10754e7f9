"""Every error as an RFC 9457 problem answer, with the `error` key that older clients read.

Whatever goes wrong, a client gets JSON with a sentence that names the field at fault; a stack trace goes to the log and
never to a client. Redis being away, loading, full or read-only is a 503: nothing is half done, because every change is
one script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from flask import Flask, Response, g, has_app_context
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError
from redis import RedisError
from werkzeug.exceptions import HTTPException

from uvr.errors import LimitExceededError, TransientError, UvrError

log = structlog.get_logger()

PROBLEM_TYPE = "application/problem+json"

RETRY_AFTER_S = 5
TOO_MANY_RETRY_AFTER_S = 30
"""Nobody knows when the next task of a user begins; this is often enough to ask."""

_DETAILS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not answer this method; the Allow header names those it does.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """The body of every error answer (https://www.rfc-editor.org/rfc/rfc9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str
    errors: list[FieldError] = []
    request_id: str = ""


def request_id() -> str:
    """What names the current request in the log, the answer and the task it brings; "" outside of one."""
    return str(g.get("request_id", "")) if has_app_context() else ""


def problem(
    status: int, detail: str, *, errors: list[FieldError] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error answer; `detail` is a sentence for the client that says what to do."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        error=detail,
        errors=errors or [],
        request_id=request_id(),
    )
    return Response(body.model_dump_json(), status, headers, mimetype=PROBLEM_TYPE)


def field_problem(status: int, field: str, message: str) -> Response:
    """An error answer for one field, which `message` names."""
    return problem(status, message, errors=[FieldError(field=field, message=message)])


def validation_problem(error: ValidationError) -> Response:
    """A 400 for what does not match its schema, every field at fault named."""
    return fields_problem(validation_faults(error))


def validation_faults(error: ValidationError) -> list[FieldError]:
    """Every field that does not match its schema, with a sentence."""
    return [
        FieldError(field=field, message=_sentence(field, part["msg"]))
        for part in error.errors(include_url=False, include_input=False, include_context=False)
        for field in [".".join(map(str, part["loc"])) or "body"]
    ]


def fields_problem(faults: list[FieldError]) -> Response:
    """A 400 that names several fields."""
    return problem(HTTPStatus.BAD_REQUEST, " ".join(fault.message for fault in faults), errors=faults)


def register_problems(app: Flask) -> None:
    """Let `app` answer every error with a problem."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(RedisError, _redis_error)
    app.register_error_handler(UvrError, _uvr_error)
    app.register_error_handler(ParseException, _broken_body)
    app.register_error_handler(Exception, _bug)


def _sentence(field: str, message: str) -> str:
    """Pydantic's "Input should be a valid integer" as "priority must be a valid integer."."""
    text = message.removeprefix("Value error, ")
    text = "is required" if text == "Field required" else re.sub(r"^(Input|String) should", "must", text)
    return f"{field} {text}."


def _http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    detail = _DETAILS.get(HTTPStatus(error.code)) or error.description or HTTPStatus(error.code).phrase
    return problem(error.code, detail, headers=headers)


def _redis_error(error: RedisError) -> Response:
    log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
    return _unavailable("The queue cannot be reached or takes no writes at the moment; try again shortly.")


def _uvr_error(error: UvrError) -> Response:
    if isinstance(error, LimitExceededError):
        return _later(HTTPStatus.TOO_MANY_REQUESTS, error.message, TOO_MANY_RETRY_AFTER_S)
    log.error("request.failed", error_kind=type(error).__name__, error=error.message)
    if isinstance(error, TransientError):
        return _unavailable(error.message)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, error.message)


def _broken_body(_error: ParseException) -> Response:
    """What the server tells only when somebody reads on: a body in chunks that are none."""
    return field_problem(HTTPStatus.BAD_REQUEST, "body", "body breaks off or is not sent in chunks as HTTP has them.")


def _bug(error: Exception) -> Response:
    log.error("request.broke", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "An internal error occurred; the log has the details.")


def _unavailable(detail: str) -> Response:
    return _later(HTTPStatus.SERVICE_UNAVAILABLE, detail, RETRY_AFTER_S)


def _later(status: int, detail: str, retry_after_s: int) -> Response:
    return problem(status, detail, headers={"Retry-After": str(retry_after_s)})
