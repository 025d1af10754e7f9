"""What all answers have in common: JSON from a model, headers for browsers, a request id, one log line."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from http import HTTPMethod, HTTPStatus

import structlog
from flask import Flask, Response, g, request
from pydantic import BaseModel

from uvr.api.auth.basic import current_user_name
from uvr.metrics.definitions import HTTP_REQUEST_SECONDS, HTTP_REQUESTS

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_METHODS = frozenset(HTTPMethod)
_PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Machines ask for these every few seconds; that all is well is nothing to tell."""

COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What every answer has, unless its endpoint has set it otherwise."""


def answer(model: BaseModel, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """`model` as a JSON answer."""
    return Response(model.model_dump_json(), status, headers, mimetype="application/json")


def register_answers(app: Flask) -> None:
    """Let every answer of `app` carry the common headers and leave one line in the log."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.began = time.perf_counter()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    for name, value in COMMON_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = g.request_id
    elapsed_s = time.perf_counter() - g.began
    _count(response, elapsed_s)
    _tell(response, elapsed_s)
    return response


def _count(response: Response, elapsed_s: float) -> None:
    # Neither label is the client's to choose: each new value would be a series for ever.
    method = request.method if request.method in _METHODS else "other"
    route = request.url_rule.rule if request.url_rule else "none"
    HTTP_REQUESTS.add(method=method, route=route, status=str(response.status_code))
    HTTP_REQUEST_SECONDS.observe(elapsed_s, method=method, route=route)


def _tell(response: Response, elapsed_s: float) -> None:
    tell = log.debug if request.path in _PROBES and response.status_code < HTTPStatus.BAD_REQUEST else log.info
    tell(
        "request.answered",
        method=request.method,
        path=request.path,
        status=response.status_code,
        elapsed_ms=round(elapsed_s * 1000, 1),
        user=current_user_name(),
    )


def _forget(_error: BaseException | None) -> None:
    structlog.contextvars.unbind_contextvars("request_id")
