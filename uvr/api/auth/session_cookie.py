"""The cookie with which the page of the service is signed in, next to passwords and tokens for programs.

A browser adds a cookie to a request by itself, so the cookie counts only for requests of the service's own pages. Two
things ensure that. `SameSite=Strict` keeps it out of what pages of other sites send. And where a browser says which
page has sent a request, it must be one of ours: a page on another port of this host, or on a sibling domain, belongs to
the same site. A request that changes something needs that word, as Sec-Fetch-Site or Origin, so a browser too old to
give it changes nothing.

The cookie stays in the browser longer than the session lasts. So the service knows a page from an old client, and does
not make the browser open its dialog for passwords: see `comes_from_page`.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, abort, g, request

from uvr.api.auth.client_address import forwarded, is_from_proxy, service_url
from uvr.api.auth.sessions import Session
from uvr.api.cross_site import SAFE_METHODS, is_from_own_page
from uvr.api.problems import field_problem
from uvr.api.services import services

COOKIE = "uvr_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Over HTTPS. Browsers accept a cookie with this prefix only from this host itself, and not from a sibling domain."""

_KEPT_S = 400 * 86400  # as long as browsers keep cookies


def given_cookie() -> str:
    """The cookie of the current request, valid or not; "" if there is none, or other credentials, which go first.

    Where a proxy says that the request came over HTTPS, only the cookie counts that this host itself has set. A sibling
    domain, or a page over HTTP, could set the other one, and so make a browser send songs as another user.
    """
    if request.authorization is not None:
        return ""
    if is_from_proxy(services().settings) and forwarded("X-Forwarded-Proto").lower() == "https":
        return request.cookies.get(SECURE_COOKIE, "")
    return request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE, "")


def comes_from_page() -> bool:
    """Whether a script of the page has sent the current request, which must not open the browser's password dialog.

    It has the cookie or the header X-Requested-With, which other sites cannot send, and no password or token.
    """
    return bool(given_cookie()) or (request.authorization is None and "X-Requested-With" in request.headers)


def current_session() -> Session | None:
    """The session of the current request, None without a valid one. May raise `redis.RedisError`.

    Ends the request with a 403 if it has a cookie and was not sent by a page of this service.
    """
    if "session" not in g:
        cookie = given_cookie()
        if cookie:
            require_own_page()
        g.session = services().sessions.find(cookie, services().users.account) if cookie else None
    session: Session | None = g.session
    return session


def require_own_page() -> None:
    """End the request with a 403 unless a page of this service has sent it, as far as the browser says."""
    is_change = request.method not in SAFE_METHODS
    if is_from_own_page(services().settings, or_unknown=not is_change):
        return
    message = (
        "A session counts only in requests of the service's own page, and the browser does not say that this is one "
        "(Sec-Fetch-Site or Origin). Programs use a password or a token instead; if this is the service's own page, "
        "set PUBLIC_BASE_URL to its address."
    )
    abort(field_problem(HTTPStatus.FORBIDDEN, "Cookie", message))


def set_cookie(response: Response, session: Session) -> None:
    """Make the browser keep the cookie of this session."""
    is_https = _is_https()
    name = SECURE_COOKIE if is_https else COOKIE
    response.set_cookie(name, session.cookie, max_age=_KEPT_S, httponly=True, samesite="Strict", secure=is_https)


def remove_cookie(response: Response) -> None:
    """Make the browser forget the cookie."""
    for name, is_secure in ((COOKIE, False), (SECURE_COOKIE, True)):
        if name in request.cookies:
            response.delete_cookie(name, httponly=True, samesite="Strict", secure=is_secure)


def _is_https() -> bool:
    """Whether the page has been loaded over HTTPS. A browser knows better than the service behind a proxy with TLS."""
    scheme, is_origin, _ = request.headers.get("Origin", "").partition("://")
    return (scheme if is_origin else service_url().partition("://")[0]) == "https"
