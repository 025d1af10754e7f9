"""Basic Auth for every endpoint but health and signed links, and the refusal to start with a password all know."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from ipaddress import ip_address

import structlog
from flask import Response
from flask_httpauth import HTTPBasicAuth

from config import Settings
from uvr.api.problems import problem
from uvr.api.services import services

log = structlog.get_logger()

# fmt: off
_WELL_KNOWN = frozenset([
    "1234", "12345", "123456", "12345678", "123456789", "admin", "administrator", "change-me", "change-this",
    "change_me", "changeme", "default", "guest", "letmein", "passwd", "password", "qwerty", "root", "secret", "test",
    "user", "uvr", "uvr-api", "your-password", "your_password",
])
# fmt: on

_CHALLENGE = 'Basic realm="uvr-api", charset="UTF-8"'

_basic = HTTPBasicAuth()


@_basic.verify_password  # type: ignore[untyped-decorator]
def _known_user(username: str, password: str) -> str | None:
    settings = services().settings
    # Both comparisons always run, so the time taken tells neither which one failed nor how far it got.
    right_name = _equal(username, settings.basic_auth_username)
    right_password = _equal(password, settings.basic_auth_password.get_secret_value())
    return username if right_name & right_password else None


@_basic.error_handler  # type: ignore[untyped-decorator]
def _refuse(_status: int) -> Response:
    detail = "A user name and password are required (HTTP Basic authentication); none or wrong ones came along."
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": _CHALLENGE})


@_basic.login_required  # type: ignore[untyped-decorator]
def require_credentials() -> None:
    """A blueprint's first `before_request`: 401 unless the right credentials came along."""


def current_user() -> str | None:
    """Who sent the current request, None before or without credentials."""
    user: str | None = _basic.current_user()
    return user


def password_faults(settings: Settings) -> list[str]:
    """Why this password must not guard an address that other machines can reach; empty when it may."""
    weakness = _weakness(settings)
    if not weakness or _is_loopback(settings.api_host):
        return []
    reach = f"other machines can reach API_HOST={settings.api_host}"
    return [f"BASIC_AUTH_PASSWORD: {weakness}, and {reach}; set a random one, as `openssl rand -hex 16` prints"]


def warn_about_password(settings: Settings) -> None:
    """Log what is tolerated on loopback only."""
    if weakness := _weakness(settings):
        log.warning("auth.password_weak", variable="BASIC_AUTH_PASSWORD", weakness=weakness, api_host=settings.api_host)


def _weakness(settings: Settings) -> str:
    password = settings.basic_auth_password.get_secret_value()
    if not password:
        return "is empty"
    if password.lower() in _WELL_KNOWN or password == settings.basic_auth_username:
        return "is one that everybody tries first"
    return ""


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
