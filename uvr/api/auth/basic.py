"""Credentials for every endpoint but health checks and signed links, and the check for passwords that anybody knows.

Endpoints that need credentials are registered on a `private_blueprint` and have a `current_user`. Users send a name and
a password (Basic Auth) or a bearer token; the page of the service sends a cookie instead (`session_cookie`). `users`
verifies names, passwords and tokens, and `rate_limits` limits failed logins and requests.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, g, request
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from flask_openapi3.blueprint import APIBlueprint
from redis import RedisError

from config import Settings
from uvr.api.auth.client_address import client_address
from uvr.api.auth.password_checks import PATIENCE_S, RETRY_AFTER_S, TooManyChecksError
from uvr.api.auth.rate_limits import refuse
from uvr.api.auth.session_cookie import COOKIE, SECURE_COOKIE, comes_from_page, current_session, given_cookie
from uvr.api.auth.sessions import Session
from uvr.api.auth.users import User
from uvr.api.problems import Problem, problem
from uvr.api.services import services
from uvr.net.hosts import is_loopback

log = structlog.get_logger()

# fmt: off
_WELL_KNOWN = frozenset([
    "1234", "12345", "123456", "12345678", "123456789", "admin", "administrator", "default", "guest", "letmein",
    "passwd", "password", "qwerty", "root", "secret", "test",
    "user", "uvr", "uvr-api",
])
# fmt: on
_GUESSED_FIRST = "is one of the first that anybody tries"
_PLACEHOLDERS = ("your_", "your-", "example", "change")
"""Prefixes of placeholders in examples, such as your_secure_password_here."""

BASIC_AUTH = "basic"
BEARER_TOKEN = "bearer"  # noqa: S105  # a name
SESSION = "session"
"""Names of the security schemes in the OpenAPI document."""
SECURITY_SCHEMES: dict[str, Any] = {
    BASIC_AUTH: {"type": "http", "scheme": BASIC_AUTH},
    BEARER_TOKEN: {"type": "http", "scheme": BEARER_TOKEN},
    SESSION: {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": f"{SECURE_COOKIE} over HTTPS"},
}
ANY_CREDENTIALS: list[dict[str, list[str]]] = [{BASIC_AUTH: []}, {BEARER_TOKEN: []}, {SESSION: []}]

_USER_TOKENS, _METRICS_TOKEN = ":tokens", ":metrics"
"""What wrong tokens are counted as. No user has such a name, because names contain no colon."""
_METRICS_PATH = "/metrics"

_BASIC_CHALLENGE, _BEARER_CHALLENGE = 'Basic realm="uvr-api", charset="UTF-8"', 'Bearer realm="uvr-api"'
_TOO_MANY_CHECKS = (
    "Too many passwords are being checked at the moment; try again after Retry-After seconds. Tokens are not affected."
)


class _BearerAuth(HTTPTokenAuth):  # type: ignore[misc]  # flask-httpauth has no types
    """Recognizes the scheme as Werkzeug does, in any case, so that no guess of METRICS_TOKEN is left uncounted."""

    def is_compatible_auth(self, _headers: object) -> bool:
        return request.authorization is not None and request.authorization.type == BEARER_TOKEN


_basic = HTTPBasicAuth()
_bearer = _BearerAuth()
_credentials = MultiAuth(_basic, _bearer)


@_basic.verify_password  # type: ignore[untyped-decorator]
def verify_password(name: str, password: str) -> User | None:
    """The user with this password. Ends the request with a 429 while the client has to wait, right or wrong."""
    if not (name or password):
        return None  # without credentials it is not a failed attempt
    users, limits, address = services().users, services().login_limits, client_address()
    if user := users.recognize(name, password):
        limits.admit(address, name)
        users.keep_recognizing(name, password)
        return user
    attempt = limits.begin(address, name)
    try:
        user = users.check(name, password, is_known=attempt.is_known, patience_s=PATIENCE_S)
    except TooManyChecksError:
        limits.give_back(attempt)
        refuse(_TOO_MANY_CHECKS, RETRY_AFTER_S)
    if user is None:
        log.warning("auth.failed", address=address)
    else:
        limits.succeed(attempt)
    return user


@_bearer.verify_token  # type: ignore[untyped-decorator]
def verify_token(token: str) -> User | None:
    """The user with this token. Wrong tokens are counted; right ones never wait, because they cannot be guessed."""
    if not token:
        return None
    if user := services().users.by_token(token):
        return user
    address, is_for_metrics = client_address(), request.path == _METRICS_PATH
    try:
        services().login_limits.begin(address, _METRICS_TOKEN if is_for_metrics else _USER_TOKENS)
    except RedisError:
        if is_for_metrics:
            services().uncounted_tokens.take()
        raise
    log.warning("auth.failed", address=address)
    return None


@_basic.error_handler  # type: ignore[untyped-decorator]
@_bearer.error_handler  # type: ignore[untyped-decorator]
def refuse_credentials(_status: int = HTTPStatus.UNAUTHORIZED) -> Response:
    """A 401 that asks for credentials."""
    if comes_from_page():
        return refuse_sign_in()
    detail = (
        "This address needs a user name and password (HTTP Basic authentication) or a bearer token; they are missing "
        "or wrong."
    )
    return _unauthorized(detail, _BASIC_CHALLENGE, _BEARER_CHALLENGE)


def refuse_sign_in() -> Response:
    """A 401 for the page of the service. It does not make the browser open its own dialog for passwords."""
    detail = "You are not signed in, or no longer: your session has ended, or the name or the password is wrong."
    return _unauthorized(detail, _BEARER_CHALLENGE)


def _unauthorized(detail: str, *challenges: str) -> Response:
    answer = problem(HTTPStatus.UNAUTHORIZED, detail)
    for challenge in challenges:
        answer.headers.add("WWW-Authenticate", challenge)
    return answer


def private_blueprint(name: str) -> APIBlueprint:
    """A blueprint for users only: 401 without valid credentials, 429 for too many requests, 503 without Redis."""
    blueprint = APIBlueprint(
        name,
        __name__,
        abp_security=ANY_CREDENTIALS,
        abp_responses={401: Problem, 429: Problem, 503: Problem},
    )
    blueprint.before_request(require_user)
    blueprint.after_request(_keep_apart)
    return blueprint


def _keep_apart(response: Response) -> Response:
    """Let no cache give what one user has received to the next one, who has the same browser."""
    response.vary.update(("Authorization", "Cookie"))
    return response


def current_user() -> User:
    """The user who sent the current request, in an endpoint of a `private_blueprint`."""
    user = _user()
    assert user is not None
    return user


def current_user_name() -> str | None:
    """The name of the user who sent the current request; None if the user is not authenticated (yet)."""
    user = _user()
    return user.name if user else None


def require_user() -> Response | None:
    """A `before_request` for users only: 401 without valid credentials, 429 for too many requests."""
    # No user for OPTIONS: browsers send it without credentials, and flask-httpauth lets it pass.
    if given_cookie() and request.method != "OPTIONS":
        refusal = None if current_session() else refuse_sign_in()
    else:
        refusal = _check_credentials()
    if refusal is None and (name := current_user_name()) is not None:
        services().request_rate.take(name)
    return refusal


@_credentials.login_required  # type: ignore[untyped-decorator]
def _check_credentials() -> Response | None:
    """401 without a right password or token."""
    return None


def _user() -> User | None:
    session: Session | None = g.get("session")
    user: User | None = session.user if session else _credentials.current_user()
    return user


def require_metrics_access() -> Response | None:
    """A `before_request` for the metrics of the whole service: 401 or 403 except for the admin and METRICS_TOKEN."""
    # OPTIONS needs no credentials, so nothing may depend on those that it has: they would be guesses that do not count.
    if request.method == "OPTIONS" or _has_metrics_token():
        return None
    refusal = require_user()
    user = _user()
    if refusal is None and user is not None and not user.is_admin:
        detail = "Only the admin, and clients with METRICS_TOKEN, may see the metrics of the whole service."
        return problem(HTTPStatus.FORBIDDEN, detail)
    return refusal


def _has_metrics_token() -> bool:
    """Whether the request has METRICS_TOKEN; ends it with a 429 while the client has to wait.

    Operators choose this token, so unlike those of users it might be guessed. It works without Redis too, where
    /metrics says that Redis is down.
    """
    token = services().settings.metrics_token.get_secret_value()
    authorization = request.authorization
    given = (authorization.token or "") if authorization and authorization.type == BEARER_TOKEN else ""
    if not (token and hmac.compare_digest(given.encode(), token.encode())):
        return False
    try:
        services().login_limits.admit(client_address(), _METRICS_TOKEN)
    except RedisError as error:
        services().uncounted_tokens.take()
        g.redis_error = error  # so that the endpoint need not wait for Redis once more
    return True


def password_faults(settings: Settings) -> list[str]:
    """Credentials that are too weak for an address that other machines can reach, with what to do; else empty."""
    if is_loopback(settings.api_host):
        return []
    return [
        f"{variable}: {weakness}, and other machines can reach API_HOST={settings.api_host}; "
        f"set it to a random value, such as `openssl rand -hex 16` prints"
        for variable, weakness in _weak_credentials(settings)
    ]


def warn_about_password(settings: Settings) -> None:
    """Log weak credentials, which are accepted on loopback only."""
    for variable, weakness in _weak_credentials(settings):
        log.warning("auth.password_weak", variable=variable, weakness=weakness, api_host=settings.api_host)


def _weak_credentials(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each variable with a value that anybody can guess, and why."""
    password = settings.basic_auth_password.get_secret_value()
    if not password:
        yield "BASIC_AUTH_PASSWORD", "is empty"
    elif password == settings.basic_auth_username:
        yield "BASIC_AUTH_PASSWORD", _GUESSED_FIRST
    elif weakness := weakness_of(password):
        yield "BASIC_AUTH_PASSWORD", weakness
    if weakness := weakness_of(settings.metrics_token.get_secret_value()):
        yield "METRICS_TOKEN", weakness


def weakness_of(secret: str) -> str:
    """Why anybody can guess a password or token, "" if not."""
    if secret.lower().startswith(_PLACEHOLDERS):
        return "is a placeholder from an example"
    return _GUESSED_FIRST if secret.lower() in _WELL_KNOWN else ""
