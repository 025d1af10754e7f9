"""Basic Auth for every endpoint but health checks and signed links, and the check for passwords that anybody knows.

Endpoints that need credentials are registered on a `private_blueprint` and have a `current_user`. `users` verifies
passwords, and `rate_limits` limits failed logins and requests.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from http import HTTPStatus

import structlog
from flask import Response, request
from flask_httpauth import HTTPBasicAuth
from flask_openapi3.blueprint import APIBlueprint

from config import Settings
from uvr.api.auth.client_address import client_address
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
"""Names of the security schemes in the OpenAPI document."""

_CHALLENGE = 'Basic realm="uvr-api", charset="UTF-8"'

_basic = HTTPBasicAuth()


@_basic.verify_password  # type: ignore[untyped-decorator]
def verify(name: str, password: str) -> User | None:
    """The user with these credentials. Failed attempts are logged, and limited by name and address."""
    if not (name or password):
        return None  # without credentials it is not a failed attempt
    address = client_address()
    services().failed_logins.check(address, name)
    user = services().users.verify(name, password)
    if user is None:
        services().failed_logins.count(address, name)
        log.warning("auth.failed", address=address)
    return user


@_basic.error_handler  # type: ignore[untyped-decorator]
def refuse(_status: int) -> Response:
    """A 401 that asks for credentials."""
    detail = "This address needs a user name and password (HTTP Basic authentication); they are missing or wrong."
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": _CHALLENGE})


def private_blueprint(name: str) -> APIBlueprint:
    """A blueprint for users only: 401 without valid credentials, 429 for too many requests, 503 without Redis."""
    blueprint = APIBlueprint(
        name,
        __name__,
        abp_security=[{BASIC_AUTH: []}],
        abp_responses={401: Problem, 429: Problem, 503: Problem},
    )
    blueprint.before_request(_require_user)
    return blueprint


def current_user() -> User:
    """The user who sent the current request, in an endpoint of a `private_blueprint`."""
    user: User = _basic.current_user()
    return user


def current_user_name() -> str | None:
    """The name of the user who sent the current request; None if the user is not authenticated (yet)."""
    user: User | None = _basic.current_user()
    return user.name if user else None


@_basic.login_required  # type: ignore[untyped-decorator]
def _require_user() -> None:
    # No user for OPTIONS: browsers send it without credentials, and flask-httpauth lets it pass.
    if (name := current_user_name()) is not None:
        services().request_rate.take(name)


def require_metrics_access() -> Response | None:
    """A `before_request` for the metrics of the whole service: 401 or 403 except for the admin and METRICS_TOKEN."""
    token = services().settings.metrics_token.get_secret_value()
    authorization = request.authorization
    given = (authorization.token or "") if authorization and authorization.type == "bearer" else ""
    if token and hmac.compare_digest(given.encode(), token.encode()):
        return None
    refusal: Response | None = _require_user()
    user: User | None = _basic.current_user()
    if refusal is None and user is not None and not user.is_admin:
        detail = "Only the admin, and clients with METRICS_TOKEN, may see the metrics of the whole service."
        return problem(HTTPStatus.FORBIDDEN, detail)
    return refusal


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
    elif weakness := _weakness(password):
        yield "BASIC_AUTH_PASSWORD", weakness
    if weakness := _weakness(settings.metrics_token.get_secret_value()):
        yield "METRICS_TOKEN", weakness


def _weakness(secret: str) -> str:
    if secret.lower().startswith(_PLACEHOLDERS):
        return "is a placeholder from an example"
    return _GUESSED_FIRST if secret.lower() in _WELL_KNOWN else ""
