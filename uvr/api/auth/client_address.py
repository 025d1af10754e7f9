"""The client's address, and the service's own address as the client used it.

Failed logins are counted by the client's address; links to stems in a response begin with the service's address.
Forwarding headers count only if they come from TRUSTED_PROXIES. The Host header always counts: a client that sends a
wrong one only misleads itself, because the address is used in the response to that client and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network

from flask import request

from config import Settings
from uvr.api.services import services
from uvr.net.hosts import Address, Network, is_host, is_in, parsed_address, without_port

_IPV6_NETWORK_BITS = 64  # the part of an address that the provider assigns; clients choose the rest


def client_address() -> str:
    """The client's address, or its network for IPv6. Behind TRUSTED_PROXIES, the last address that is not one of them.

    "" if the client has no address, as on a Unix socket.
    """
    trusted = services().settings.trusted_proxies
    address = parsed_address(request.remote_addr or "")
    for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        previous = parsed_address(hop.strip())
        if previous is None or not is_in(address, trusted):
            break
        address = previous
    return _shown(address)


def counted_address(text: str, trusted_proxies: Sequence[Network]) -> str:
    """The address, or its network for IPv6; "" if it is one of `trusted_proxies`, which stand for many clients."""
    address = parsed_address(text)
    return "" if is_in(address, trusted_proxies) else _shown(address)


def is_from_proxy(settings: Settings) -> bool:
    """Whether one of TRUSTED_PROXIES has sent the current request, so that its X-Forwarded headers count."""
    return is_in(parsed_address(request.remote_addr or ""), settings.trusted_proxies)


def forwarded(header: str) -> str:
    """The last value of a header of the current request, which the nearest proxy has added; "" if there is none."""
    return request.headers.get(header, "").rpartition(",")[2].strip()


def service_url() -> str:
    """PUBLIC_BASE_URL if it is set, else the service's address as the current request used it.

    The request's host is used if it is one of ALLOWED_HOSTS, or if those are empty and the service is not on loopback.
    Otherwise the address comes from API_HOST and API_PORT.
    """
    settings = services().settings
    host, scheme = request.environ.get("HTTP_HOST", ""), request.scheme
    if is_from_proxy(settings):
        host = forwarded("X-Forwarded-Host") or host
        scheme = forwarded("X-Forwarded-Proto") or scheme
    host = host.lower()
    names = {host, without_port(host)}
    is_allowed = is_host(host) and (
        not names.isdisjoint(settings.allowed_hosts) or not (settings.allowed_hosts or settings.is_on_loopback)
    )
    if settings.public_base_url or scheme not in ("http", "https") or not is_allowed:
        return settings.base_url
    return f"{scheme}://{host}"


def _shown(address: Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_NETWORK_BITS), strict=False))
    return str(address or "")
