"""Responses to requests that no application ever sees: malformed, not supported, too slow, or too many at a time.

They look like all other errors: a problem document with the common headers.
"""

from __future__ import annotations

from http import HTTPStatus

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from werkzeug.exceptions import RequestTimeout

from uvr.api.problems import PROBLEM_TYPE, Problem
from uvr.api.responses import COMMON_HEADERS

_STATUSES: dict[type[Exception], HTTPStatus] = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    ParseException: HTTPStatus.BAD_REQUEST,
    RequestTimeout: HTTPStatus.REQUEST_TIMEOUT,
}
_DETAILS = {
    HTTPStatus.BAD_REQUEST: "This is not a valid HTTP request.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time; send it again without pauses.",
    HTTPStatus.TOO_MANY_REQUESTS: "Your address has too many requests open at a time; close some, or try again later.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An internal error occurred; the log has the details.",
}


def status_of(error: BaseException) -> HTTPStatus:
    """The status of the response to this error: 500 unless it is known to be the client's fault."""
    statuses = (status for error_type, status in _STATUSES.items() if isinstance(error, error_type))
    return next(statuses, HTTPStatus.INTERNAL_SERVER_ERROR)


def error_response(status: HTTPStatus, *, retry_after_s: int | None = None) -> bytes:
    """A complete HTTP response, after which the server closes the connection."""
    detail = _DETAILS.get(status, f"{status.phrase}.")
    body = Problem(title=status.phrase, status=status, detail=detail, error=detail).model_dump_json().encode()
    headers = {
        "Connection": "close",
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": len(body),
        "Cache-Control": "no-store",
        **COMMON_HEADERS,
    }
    if retry_after_s is not None:
        headers["Retry-After"] = retry_after_s
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body
