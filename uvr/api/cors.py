"""Leave for scripts of other web pages to call the API: none, unless their origin stands in ALLOWED_ORIGINS.

Credentials stay in the Authorization header, which such a script sets by itself; cookies play no part here.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from flask import Flask, Response, request

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = "Location, Retry-After, X-Request-ID, Idempotency-Replayed"


def register_cors(app: Flask, allowed_origins: Sequence[str]) -> None:
    """Let pages of `allowed_origins` call `app`; without any, no answer says a word about origins."""
    if not allowed_origins:
        return

    @app.before_request
    def answer_preflight() -> Response | None:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if asks and request.headers.get("Origin") in allowed_origins:
            return Response(status=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT)
        return None

    @app.after_request
    def allow(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin", "")
        if origin in allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        return response
