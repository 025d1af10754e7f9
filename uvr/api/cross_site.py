"""Refuses what other web sites make a user's browser send here, before credentials are checked or a body is read.

A browser adds the password that it remembers to every request, also to one that a page of another site has started. Two
checks, registered once for all endpoints, keep such pages out:

- A request that may change state, which is every method but GET, HEAD and OPTIONS, must not come from another site. The
  browser says so in Sec-Fetch-Site, which no page can forge; an older browser, or one that uses plain HTTP, sends only
  the Origin. What sends neither is not a browser, and is served as ever. Pages of ALLOWED_ORIGINS may do everything.
- An API on loopback answers for its own names only. Otherwise a page could let its own name lead to 127.0.0.1 (DNS
  rebinding), and the browser would take both for one site.

A path that is almost right, such as /tasks//1, is a 404. Flask would redirect it to the right one, at the Host that the
client sent, which may be any.

The order of the checks is that of Go's `http.CrossOriginProtection` (https://go.dev/doc/go1.25#nethttppkgnethttp).
"""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import RequestRedirect

from config import Settings
from uvr.api.auth.client_address import forwarded, is_from_proxy
from uvr.api.problems import field_problem
from uvr.net.hosts import is_host, is_loopback, without_port

log = structlog.get_logger()

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_METRICS = "/metrics"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def refuse_other_sites(app: Flask, settings: Settings) -> None:
    """Make `app` answer 421 to a host that is not its own, and 403 to a change that another site asks for."""

    @app.before_request
    def check() -> Response | None:
        if isinstance(request.routing_exception, RequestRedirect):
            request.routing_exception = NotFound()
        # A scraper uses the name by which it reaches the API. No browser knows its token, so other names do no harm.
        if not _may_ask_for(_host(), settings) and request.path != _METRICS:
            return _unknown_host()
        if request.method in SAFE_METHODS or _origin() in settings.allowed_origins:
            return None
        site = request.headers.get("Sec-Fetch-Site", "")
        if site not in ("", "none", "same-origin"):
            return _other_site("Sec-Fetch-Site", f"Sec-Fetch-Site: {site}")
        # The page of a form that sends no referrer has the Origin "null", although it is the service's own.
        if site != "same-origin" and _origin() and not _is_own(_origin(), settings):
            return _other_site("Origin", f"Origin: {_origin()}")
        return None


def is_from_own_page(settings: Settings, *, or_unknown: bool) -> bool:
    """Whether the browser says that a page of this service has sent the current request.

    `or_unknown` is the answer if it says nothing, which is also how an address that a user types looks.
    """
    site = request.headers.get("Sec-Fetch-Site", "")
    if site:
        return site == "same-origin" or (site == "none" and or_unknown)
    return _is_own(_origin(), settings) if _origin() else or_unknown


def _may_ask_for(host: str, settings: Settings) -> bool:
    """Whether a client may use the service under the name `host`."""
    if not settings.is_on_loopback or is_from_proxy(settings):  # a trusted proxy checks names itself
        return True
    # A browser always sends Host, and cannot connect to a Unix socket, whose clients have no address.
    is_no_browser = not host or not request.remote_addr
    return is_no_browser or _is_named(host, settings)


def _is_named(host: str, settings: Settings) -> bool:
    """Whether `host`, with or without a port, leads to this machine or is a name of the service in the settings."""
    name = without_port(host)
    named = {*settings.allowed_hosts, *(without_port(_authority(url)) for url in _own_urls(settings))}
    return is_host(host) and (is_loopback(name.strip("[]")) or not {host, name}.isdisjoint(named))


def _is_own(origin: str, settings: Settings) -> bool:
    """Whether pages of `origin` come from this service, as far as the settings and the current request tell.

    The scheme does not count: behind a proxy with HTTPS, the service itself is asked over HTTP.
    """
    own = {_authority(url) for url in _own_urls(settings)}
    if not settings.allowed_hosts or _is_named(_host(), settings):
        own |= {_host().removesuffix(port) for port in _DEFAULT_PORTS.values()}
    if is_from_proxy(settings):
        own.add(forwarded("X-Forwarded-Host").lower())
    return _authority(origin) in own - {""}


def _own_urls(settings: Settings) -> tuple[str, str]:
    return settings.base_url, settings.local_url


def _authority(url: str) -> str:
    """The host of a URL or an Origin, with its port unless that is the default; "" if there is none."""
    scheme, _, rest = url.lower().partition("://")
    return rest.partition("/")[0].removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def _host() -> str:
    return str(request.environ.get("HTTP_HOST", "")).lower()


def _origin() -> str:
    return request.headers.get("Origin", "")


def _unknown_host() -> Response:
    log.warning("host.refused", host=_host())
    message = (
        "Host is not a name of this service, which only this machine can reach. If a proxy on this machine forwards "
        "this name, set PUBLIC_BASE_URL to the public address, or add the name to ALLOWED_HOSTS."
    )
    return field_problem(HTTPStatus.MISDIRECTED_REQUEST, "Host", message)


def _other_site(header: str, sent: str) -> Response:
    log.warning("cross_site.refused", header=header, sent=sent)
    message = (
        f"{header} says that a page of another site sent this request, so it is refused. If the page may use this "
        f"service, add its origin to ALLOWED_ORIGINS; if it belongs to this service, set PUBLIC_BASE_URL."
    )
    return field_problem(HTTPStatus.FORBIDDEN, header, message)
