"""Hosts, origins, networks and URLs in the text of settings: what is valid, and what a list with commas means.

Every function that refuses a text raises `ValueError` with a message that shows how to write it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pydantic import SecretStr

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LABEL = "[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?")
_MAX_HOST_LENGTH = 253 + len(":65535")
_ORIGIN = re.compile(r"https?://[^/?#@\s]+")
_PROXY = re.compile(r"http://([^\s/?#@]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?/?")

_LOOPBACK_OF_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing can connect to a wildcard


@dataclass(frozen=True)
class HostList:
    """Host names, in lower case, each with all names below it, and networks."""

    names: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def __str__(self) -> str:
        """As the setting is written."""
        return ",".join(map(str, (*self.names, *self.networks)))

    def has_name(self, host: str) -> bool:
        """Whether `host` is one of the names, or below one of them."""
        host = host.lower().rstrip(".")
        return any(host == name or host.endswith(f".{name}") for name in self.names)


def is_host(text: str) -> bool:
    """Whether this is a host name or address in lower case, with or without a port, as in a Host header."""
    return len(text) <= _MAX_HOST_LENGTH and _HOST.fullmatch(text) is not None


def without_port(host: str) -> str:
    """The name or address in a Host header; an IPv6 address keeps its brackets."""
    return host if host.endswith("]") else re.sub(r":[0-9]+$", "", host)


def parsed_address(text: str) -> Address | None:
    """The address; an IPv4 address that is written as IPv6 is an IPv4 address. None for what is not an address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_in(address: Address | None, networks: Sequence[Network]) -> bool:
    """Whether `address` is in one of `networks`; never if there is no address."""
    return address is not None and any(address in network for network in networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_on_this_machine(host: str, port: int) -> str:
    """The URL at which this machine reaches a server that listens at `host`, which may be a wildcard address."""
    host = _LOOPBACK_OF_WILDCARD.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def parse_networks(text: str) -> list[Network]:
    """Networks such as 10.0.0.0/8, separated by commas."""
    return [ip_network(part) for part in _parts(text)]


def parse_origins(text: str) -> list[str]:
    """Origins of web pages, separated by commas."""
    origins = _parts(text)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin} is not an origin; write it as https://app.example.com, without a path")
    return origins


def parse_hosts(text: str) -> list[str]:
    """Hosts, separated by commas, in lower case."""
    hosts = _parts(text.lower())
    for host in hosts:
        if not is_host(host):
            raise ValueError(f"{host} is not a host; write it as stems.example.com, with or without a port")
    return hosts


def parse_host_list(text: str) -> HostList:
    """Host names, addresses and networks, separated by commas."""
    names, networks = [], []
    for part in _parts(text.lower()):
        try:
            networks.append(ip_network(part))
        except ValueError as error:
            if not is_host(part) or ":" in part:
                raise ValueError(f"{part} is neither a host name nor an address or a network: {error}") from error
            names.append(part)
    return HostList(tuple(names), tuple(networks))


def checked_http_url(url: str) -> str:
    """`url`, which may be empty, without slashes at its end."""
    if url and not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/")


def checked_proxy_url(url: SecretStr) -> SecretStr:
    """The URL of an HTTP proxy, which may be empty. The error never contains it, because it may contain a password."""
    text = url.get_secret_value()
    match = _PROXY.fullmatch(text)
    if text and not (match and int(match["port"] or 80) < 2**16):
        raise ValueError(
            "write it as http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128, with %40 for "
            "an @ in the password; https:// and SOCKS proxies are not supported"
        )
    return url


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
