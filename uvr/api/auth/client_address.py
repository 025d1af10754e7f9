"""Where a request comes from and by which address of the service, as far as that can be known.

Wrong passwords are counted for the one, links to stems in the answer begin with the other. What headers say of either
is believed of TRUSTED_PROXIES only, but for Host: with a false one a client misleads itself alone, since the address is
used in the answer to that client and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flask import request

from uvr.api.services import services
from uvr.net.hosts import Network, is_host

_IPV6_OF_ONE_HOME = 64  # bits of an address that its provider gave; the rest is up to the client


def client_address() -> str:
    """The client's address, for IPv6 its network; behind TRUSTED_PROXIES the last one that they do not vouch for."""
    claimed = request.headers.get("X-Forwarded-For", "").split(",")
    trusted = services().settings.trusted_proxies
    address = _parsed(request.remote_addr or "")
    for hop in reversed(claimed):
        before = _parsed(hop)
        if before is None or not _is_in(address, trusted):
            break
        address = before
    return _network(address)


def service_url() -> str:
    """The address by which the current request reached the service, PUBLIC_BASE_URL if there is one.

    Without it the host of the request counts if it is one of ALLOWED_HOSTS or, where that is empty, if the service is
    not on loopback; otherwise what the settings make of API_HOST.
    """
    settings = services().settings
    host, scheme = request.environ.get("HTTP_HOST", ""), request.scheme
    if _is_in(_parsed(request.remote_addr or ""), settings.trusted_proxies):
        host = _last(request.headers.get("X-Forwarded-Host", "")) or host
        scheme = _last(request.headers.get("X-Forwarded-Proto", "")) or scheme
    if settings.public_base_url or scheme not in ("http", "https") or not _is_allowed(host.lower()):
        return settings.base_url
    return f"{scheme}://{host.lower()}"


def _last(values: str) -> str:
    """What the nearest proxy has written into a header of several."""
    return values.rpartition(",")[2].strip()


def _is_allowed(host: str) -> bool:
    settings = services().settings
    if not is_host(host):
        return False
    name = host if host.endswith("]") else re.sub(r":[0-9]+$", "", host)
    return not {host, name}.isdisjoint(settings.allowed_hosts) or not (
        settings.allowed_hosts or settings.is_on_loopback
    )


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: IPv4Address | IPv6Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _network(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_OF_ONE_HOME), strict=False))
    return str(address or "")
