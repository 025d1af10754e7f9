"""Where a request comes from, as far as that can be known: the address that wrong passwords are counted for."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flask import request

from config import Network
from uvr.api.services import services

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
