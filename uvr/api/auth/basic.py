"""Basic Auth for every endpoint but health and signed links, and the refusal to start with a password all know.

What needs credentials is on a `private_blueprint`, whose endpoints run with a `current_user`. Users are told apart in
users.py, and how often they may fail or ask in limits.py.
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
_PLACEHOLDERS = ("your_", "your-", "example", "change")
"""How passwords begin that stand in examples, such as your_secure_password_here."""

BASIC_AUTH = "basic"
BEARER_TOKEN = "bearer"  # noqa: S105  # a name
"""What the OpenAPI document calls them."""

_CHALLENGE = 'Basic realm="uvr-api", charset="UTF-8"'

_basic = HTTPBasicAuth()


@_basic.verify_password  # type: ignore[untyped-decorator]
def _known_user(name: str, password: str) -> User | None:
    if not (name or password):
        return None  # nothing was tried
    address = client_address()
    services().failed_logins.check(address, name)
    user = services().users.verify(name, password)
    if user is None:
        services().failed_logins.count(address, name)
        log.warning("auth.failed", address=address)
    return user


@_basic.error_handler  # type: ignore[untyped-decorator]
def _refuse(_status: int) -> Response:
    detail = "A user name and password are required (HTTP Basic authentication); none or wrong ones came along."
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": _CHALLENGE})


def private_blueprint(name: str) -> APIBlueprint:
    """A blueprint for users only: 401 without the right credentials, 429 for who asks too often, 503 without Redis."""
    blueprint = APIBlueprint(
        name,
        __name__,
        abp_security=[{BASIC_AUTH: []}],
        abp_responses={401: Problem, 429: Problem, 503: Problem},
    )
    blueprint.before_request(_require_user)
    return blueprint


def current_user() -> User:
    """Who sent the current request, in an endpoint of a `private_blueprint`."""
    user: User = _basic.current_user()
    return user


def current_user_name() -> str | None:
    """Who sent the current request, None before or without credentials."""
    user: User | None = _basic.current_user()
    return user.name if user else None


@_basic.login_required  # type: ignore[untyped-decorator]
def _require_user() -> None:
    # None for OPTIONS, which browsers send without credentials and which flask-httpauth lets pass.
    if (name := current_user_name()) is not None:
        services().request_rate.take(name)


def require_scraper() -> Response | None:
    """A `before_request` for the metrics of everybody: 401 or 403 but for the admin and for METRICS_TOKEN."""
    if _has_metrics_token():
        return None
    refusal: Response | None = _require_user()
    user: User | None = _basic.current_user()
    if refusal is None and user is not None and not user.is_admin:
        detail = "Only the admin, and whoever has METRICS_TOKEN, may see the metrics of the whole service."
        return problem(HTTPStatus.FORBIDDEN, detail)
    return refusal


def _has_metrics_token() -> bool:
    token = services().settings.metrics_token.get_secret_value()
    given = request.authorization
    if not token or given is None or given.type != "bearer":
        return False
    return hmac.compare_digest((given.token or "").encode(), token.encode())


def password_faults(settings: Settings) -> list[str]:
    """Why these credentials must not guard an address that other machines can reach; empty when they may."""
    if is_loopback(settings.api_host):
        return []
    reach = f"other machines can reach API_HOST={settings.api_host}"
    return [
        f"{variable}: {weakness}, and {reach}; set a random one, as `openssl rand -hex 16` prints"
        for variable, weakness in _weaknesses(settings)
    ]


def warn_about_password(settings: Settings) -> None:
    """Log what is tolerated on loopback only."""
    for variable, weakness in _weaknesses(settings):
        log.warning("auth.password_weak", variable=variable, weakness=weakness, api_host=settings.api_host)


def _weaknesses(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each variable whose value anybody may guess, and why."""
    password = settings.basic_auth_password.get_secret_value()
    guessed = "is one that everybody tries first" if password == settings.basic_auth_username else _guessed(password)
    if weakness := guessed if password else "is empty":
        yield "BASIC_AUTH_PASSWORD", weakness
    if weakness := _guessed(settings.metrics_token.get_secret_value()):
        yield "METRICS_TOKEN", weakness


def _guessed(secret: str) -> str:
    if secret.lower().startswith(_PLACEHOLDERS):
        return "is a placeholder that stands in examples"
    return "is one that everybody tries first" if secret.lower() in _WELL_KNOWN else ""
