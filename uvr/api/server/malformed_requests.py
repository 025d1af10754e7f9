"""Answers to what is no HTTP request, or not one that the server reads: no application ever hears of it.

They look like all other errors: a problem document, with the headers that every answer has.
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

from uvr.api.problems import PROBLEM_TYPE, Problem
from uvr.api.responses import COMMON_HEADERS

_STATUSES: dict[type[Exception], HTTPStatus] = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    ParseException: HTTPStatus.BAD_REQUEST,
}
_DETAILS = {
    HTTPStatus.BAD_REQUEST: "This is no valid HTTP request.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not come in time; send it again, and all of it at once.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An internal error occurred; the log has the details.",
}


def status_of(error: BaseException) -> HTTPStatus:
    """The status that tells of this error: the client's fault or, if it is none that is known, ours."""
    statuses = (status for kind, status in _STATUSES.items() if isinstance(error, kind))
    return next(statuses, HTTPStatus.INTERNAL_SERVER_ERROR)


def refusal(status: HTTPStatus) -> bytes:
    """A whole answer, after which the connection ends."""
    detail = _DETAILS.get(status, f"{status.phrase}.")
    body = Problem(title=status.phrase, status=status, detail=detail, error=detail).model_dump_json().encode()
    headers = {
        "Connection": "close",
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": len(body),
        "Cache-Control": "no-store",
        **COMMON_HEADERS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body
