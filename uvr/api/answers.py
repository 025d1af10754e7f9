"""What all answers have in common: JSON from a model, headers for browsers, a request id, one log line."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from flask import Flask, Response, g, request
from pydantic import BaseModel

from uvr.api.auth import current_user

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


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
    # An endpoint that needs other headers, as a page does, has set them already.
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if response.mimetype in ("application/json", "application/problem+json"):
        response.headers["Cache-Control"] = "no-store"
    response.headers["X-Request-ID"] = g.request_id
    log.info(
        "request.answered",
        method=request.method,
        path=request.path,
        status=response.status_code,
        elapsed_ms=round((time.perf_counter() - g.began) * 1000, 1),
        user=current_user(),
    )
    return response


def _forget(_error: BaseException | None) -> None:
    structlog.contextvars.unbind_contextvars("request_id")
