"""What all responses have in common: JSON from a model, security headers, a request id, metrics and one log line."""

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
"""Monitoring requests these every few seconds, so their successes are logged at debug level only."""

COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Security headers of every response, unless its endpoint has set them to something else."""


def json_response(model: BaseModel, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """A response with `model` as its JSON body."""
    return Response(model.model_dump_json(), status, headers, mimetype="application/json")


def register_responses(app: Flask) -> None:
    """Give every request of `app` an id and a log line, and every response the common headers."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        g.started = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in COMMON_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Request-ID"] = g.request_id
        _record(response, time.perf_counter() - g.started)
        return response

    @app.teardown_request
    def unbind(_error: BaseException | None) -> None:
        structlog.contextvars.unbind_contextvars("request_id")


def _record(response: Response, elapsed_s: float) -> None:
    """Count the current request in the metrics and log it."""
    # Clients must not choose the value of a label: each new value would be a series for ever.
    method = request.method if request.method in _METHODS else "other"
    route = request.url_rule.rule if request.url_rule else "none"
    HTTP_REQUESTS.add(method=method, route=route, status=str(response.status_code))
    HTTP_REQUEST_SECONDS.observe(elapsed_s, method=method, route=route)
    is_routine = request.path in _PROBES and response.status_code < HTTPStatus.BAD_REQUEST
    (log.debug if is_routine else log.info)(
        "request.answered",
        method=request.method,
        path=request.path,
        status=response.status_code,
        elapsed_ms=round(elapsed_s * 1000, 1),
        user=current_user_name(),
    )
