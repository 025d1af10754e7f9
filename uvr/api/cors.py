"""Cross-origin requests (CORS): scripts on web pages of other origins may call the API if ALLOWED_ORIGINS lists them.

Such a script sends credentials in the Authorization header, which it sets itself. The cookie of the service's own page
does not count for other origins (`uvr.api.auth.session_cookie`).
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from flask import Flask, Response, request

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID",
    "Access-Control-Max-Age": "600",
}
_EXPOSED_HEADERS = "Content-Disposition, Location, Retry-After, X-Request-ID, Idempotency-Replayed"


def register_cors(app: Flask, allowed_origins: Sequence[str]) -> None:
    """Let web pages of `allowed_origins` call `app`. Without any, responses carry no CORS headers at all."""
    if not allowed_origins:
        return

    @app.before_request
    def answer_preflight() -> Response | None:
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and request.headers.get("Origin") in allowed_origins:
            return Response(status=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT)
        return None

    @app.after_request
    def add_cors_headers(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin", "")
        if origin in allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
        return response
