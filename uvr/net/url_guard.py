"""The guard for all URLs that clients give: connections go to public addresses only, and only to addresses it checked.

A harmless name may resolve to the metadata service of a cloud, perhaps only when it is resolved again (DNS rebinding).
So the guard checks where sockets are opened. A name is resolved once, each of its addresses must be public or in a
network that the operator allows, and in none that the operator denies, and the connection goes to one of exactly these
addresses. Everything above the
socket (Host header, SNI, certificate check) still uses the name in the URL. docs/decisions/0001-url-guard.md gives the
reasons. Ports are checked at the same place (docs/decisions/0028-denied-hosts-and-ports.md).

Behind a proxy, sockets lead to the proxy, which resolves names by itself. Then the guard checks before each request
what it can resolve itself, and the proxy must refuse the rest (docs/decisions/0015-proxies.md).
"""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from uvr.errors import PermanentError, TransientError, UvrError
from uvr.net import ports
from uvr.net.hosts import HostList
from uvr.net.http_status import described, is_transient

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str], Sequence[Address]]
OpenSocket = Callable[[HTTPConnection], socket.socket]

# urllib3 accepts more, but parsers disagree about the meaning of the rest, and none of it exists in DNS.
_HOST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,253}|\[[0-9A-Fa-f:.]+\]")

# Names without a dot, names reserved for private networks, and names that browsers read as IPv4 addresses.
_LOCAL_NAME = re.compile(r"[^.]+|(?:.+\.)?(?:localhost|local|internal|home\.arpa|\d+|0x[0-9a-f]*)", re.IGNORECASE)

# The text of http.client's error with the status that a proxy returned for CONNECT.
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")

# All IPv6 addresses that are not global unicast (loopback, mapped, NAT64, link-local, multicast, …) are outside of it.
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")

# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, and two additions.
# `ipaddress.is_global` is not used, because its result differs between patch releases of Python.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network; connects to loopback on Linux
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, cloud metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # addition: the agent of an Azure host serves its virtual machines at this public address
        "2001::/23",  # protocol assignments, Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3ffe::/16",  # addition: the former 6bone, returned to IANA
        "3fff::/20",  # documentation
    )
)


_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one of the public internet."""
    if address.version == 6 and address not in _GLOBAL_UNICAST_V6:
        return False
    return not any(address in network for network in _NOT_PUBLIC)


def resolve(host: str) -> list[Address]:
    """All addresses of a host name, or the one that a numeric host stands for in any spelling (0x7f.1 is 127.0.0.1)."""
    return [ip_address(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class UrlGuard:
    """Decides which hosts may be reached: public ones and those in `allowed_private_networks`, except `denied` ones.

    What a denied name resolves to is denied under every name. `allowed_ports` limits the ports (see `ports`). `proxy`,
    if not empty, is the http:// URL of the proxy that leads to public hosts. `resolver` replaces the system's name
    resolution in tests.
    """

    def __init__(
        self,
        allowed_private_networks: Sequence[Network],
        *,
        denied: HostList | None = None,
        allowed_ports: Sequence[ports.PortRange] = (),
        proxy: str = "",
        resolver: Resolver = resolve,
    ) -> None:
        self.proxy = proxy
        self._denied = denied or HostList()
        self._allowed_ports = tuple(allowed_ports)
        self._allowed = tuple(allowed_private_networks)
        self._resolver = resolver

    def check(self, url: str, field: str) -> None:
        """Refuse a URL that can never be allowed, without a DNS query.

        Raises `PermanentError` with a sentence that begins with `field`, the name of the request's field with the URL.
        """
        if " " in url or not url.isprintable():
            raise PermanentError(f"{field} must not contain spaces or control characters.")
        try:
            parts = parse_url(url)
        except LocationParseError as error:
            raise PermanentError(f"{field} is not a valid URL.") from error
        if parts.scheme not in {"http", "https"}:
            raise PermanentError(f"{field} must be a URL that begins with http:// or https://.")
        if parts.auth is not None:
            instead = "the operator can set WEBHOOK_HEADERS" if field == "hook_url" else "give a signed URL"
            raise PermanentError(f"{field} must not carry a user name or password; {instead} instead.")
        if not parts.host:
            raise PermanentError(f"{field} names no host.")
        if not _HOST.fullmatch(parts.host):
            raise PermanentError(f"{field} names the host {parts.host[:260]}, which cannot exist.")
        addresses = _literal(parts.host)
        self._admit(parts.host, addresses, f"{field} names the host {parts.host}, which")
        # A name may turn out to be in a network that the operator has opened, if there is any.
        self.check_port(_port_of(parts), field, is_opened=bool(self._allowed) and self.is_opened(addresses))

    def check_port(self, port: int, subject: str = "The URL", *, is_opened: bool) -> None:
        """Refuse a port; raises `PermanentError` with a sentence that begins with `subject`.

        Where the operator has opened the network (`is_opened`), only a list of ports closes any.
        """
        if ports.is_allowed(port, self._allowed_ports) or (is_opened and not self._allowed_ports):
            return
        raise PermanentError(
            f"{subject} leads to port {port}, to which this service does not connect. Its operator can open the port "
            "with ALLOWED_PORTS.",
            port=port,
        )

    def is_opened(self, addresses: Sequence[Address]) -> bool:
        """Whether all of these addresses are in networks that the operator has opened."""
        return all(map(self._is_allowed, addresses))

    def session(self, total_s: float) -> GuardedSession:
        """A session that checks every connection; everything it does ends within `total_s` seconds."""
        return GuardedSession(self, total_s)

    def addresses(self, host: str) -> Sequence[Address]:
        """Resolve `host` and return its addresses, all of which may be reached.

        Raises `PermanentError` if one of them may not be reached, `TransientError` if the host does not resolve.
        """
        try:
            found = self._resolver(host)
        except (OSError, UnicodeError) as error:
            raise TransientError(f"The host name {host} could not be resolved; check its spelling.") from error
        self._admit(host, found, f"The host {host}", self._denied_addresses())
        return found

    def needs_proxy(self, host: str) -> bool:
        """Whether requests to `host` go through the proxy: there is one, and the host is in no allowed private network.

        Resolves `host`. Raises `PermanentError` if one of its addresses may not be reached, and for a name that does
        not resolve here and has no meaning outside of a private network.
        """
        if not self.proxy:
            return False
        self._admit(host, (), f"The host {host}")
        try:
            found = self._resolver(host)
        except (OSError, UnicodeError) as error:
            if _LOCAL_NAME.fullmatch(host):
                raise PermanentError(f"The host {host} has no public name.") from error
            return True
        self._admit(host, found, f"The host {host}", self._denied_addresses())
        return not self.is_opened(found)

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allowed)

    def _denied_addresses(self) -> set[Address]:
        """What the denied names resolve to at the moment."""
        found: set[Address] = set()
        for name in self._denied.names:
            with suppress(OSError, UnicodeError):
                found.update(self._resolver(name))
        return found

    def _admit(self, host: str, addresses: Sequence[Address], subject: str, denied: Collection[Address] = ()) -> None:
        networks = self._denied.networks
        if self._denied.has_name(host) or any(
            address in denied or any(address in network for network in networks) for address in addresses
        ):
            raise PermanentError(f"{subject} is denied by the operator of this service (DENIED_HOSTS).")
        for address in addresses:
            if not is_public(address) and not self._is_allowed(address):
                raise PermanentError(
                    f"{subject} is not at a public address. The operator of this service can open its network with "
                    "ALLOWED_PRIVATE_NETWORKS.",
                    address=str(address),
                )


def _port_of(parts: Url) -> int:
    return _DEFAULT_PORTS.get(parts.scheme or "", 0) if parts.port is None else parts.port


class GuardedSession(requests.Session):
    """A `requests` session behind a guard. It follows no redirects and ignores proxies and .netrc of the environment.

    It raises the exceptions of requests and those of `UrlGuard`, and `TransientError` or `PermanentError` if the proxy
    cannot be reached or refuses the request. Close it after use.
    """

    def __init__(self, guard: UrlGuard, total_s: float) -> None:
        super().__init__()
        self.trust_env = False
        self._guard = guard
        self._watchdog = _Watchdog(total_s)
        adapter = _GuardedAdapter(self._open_socket, self._open_proxy_socket)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    @property
    def expired(self) -> bool:
        """Whether the time of the session is over: it then causes all errors, and bodies end early."""
        return self._watchdog.has_ended

    @property
    def stalled(self) -> bool:
        """Whether the session has expired because there was no progress in time (see `expect_progress`)."""
        return self.expired and self._watchdog.is_stalled

    def expect_progress(self, within_s: float) -> None:
        """End the session in `within_s` seconds, unless this is called again before."""
        self._watchdog.expect_progress(within_s)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As in requests, and raises `requests.Timeout` also if the time ends before the header is complete."""
        parts = parse_url(request.url or "")
        host = (parts.host or "").strip("[]").rstrip(".")
        proxy = self._guard.proxy if self._guard.needs_proxy(host) else ""
        if proxy:
            self._guard.check_port(_port_of(parts), is_opened=False)
        kwargs["proxies"] = {"http": proxy, "https": proxy} if proxy else {}
        try:
            response = super().send(request, **kwargs)
        except requests.exceptions.ProxyError as error:
            if self.expired:
                raise
            raise _proxy_refusal(error, host) from error
        if self.expired:
            # requests takes a header that was cut off for a complete one.
            response.close()
            raise requests.Timeout(request=request)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: even with `allow_redirects=False`, requests would read the whole body of a redirect into memory."""
        return None

    def close(self) -> None:
        """Close the connections and stop the watchdog."""
        super().close()
        self._watchdog.stop()

    def _open_socket(self, connection: HTTPConnection) -> socket.socket:
        addresses = self._guard.addresses(connection.host)
        self._guard.check_port(connection.port, is_opened=self._guard.is_opened(addresses))
        refusal = f"The host {connection.host} does not accept connections on port {connection.port}."
        return self._connected(addresses, connection, refusal)

    def _open_proxy_socket(self, connection: HTTPConnection) -> socket.socket:
        # The operator chose the proxy, so it may be in a private network. Clients must not learn its name.
        refusal = "The proxy of this service does not accept connections."
        try:
            addresses = resolve(connection.host)
        except (OSError, UnicodeError) as error:
            raise TransientError(refusal, proxy=connection.host) from error
        return self._connected(addresses, connection, refusal)

    def _connected(self, addresses: Sequence[Address], connection: HTTPConnection, refusal: str) -> socket.socket:
        for address in addresses:
            timeout_s = min(connection.timeout or self._watchdog.total_s, self._watchdog.remaining_s())
            if timeout_s <= 0:
                break
            # If one address refuses or is silent, another one of the same name may work.
            with suppress(OSError):
                opened = socket.create_connection((str(address), connection.port), timeout_s)
                # Header and body are sent in two writes; without this the second would wait for a delayed ACK.
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._watchdog.watch(opened)
        raise TransientError(refusal, host=connection.host, port=connection.port)


def _proxy_refusal(error: requests.exceptions.ProxyError, host: str) -> UvrError:
    refused = _TUNNEL_REFUSED.search(str(error))
    if not refused:
        return TransientError("The connection to the proxy of this service was interrupted.")
    status = int(refused[1])
    kind = PermanentError if 400 <= status < 500 and not is_transient(status) else TransientError
    return kind(
        f"The proxy of this service does not connect to {host}: it answered {described(status)}.", status=status
    )


def _literal(host: str) -> Sequence[Address]:
    """The address that a numeric host stands for; empty for a name."""
    try:
        # urllib3 removes a dot at the end of a host, so 127.0.0.1. is an address as well.
        plain = host.strip("[]").rstrip(".")
        found = socket.getaddrinfo(plain, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [ip_address(info[4][0]) for info in found]


class _GuardedAdapter(HTTPAdapter):
    """An adapter whose connections get their sockets from `open_socket`, or from `open_proxy_socket` if to a proxy."""

    def __init__(self, open_socket: OpenSocket, open_proxy_socket: OpenSocket) -> None:
        self._pool_classes = _pool_classes(open_socket)
        self._proxy_pool_classes = _pool_classes(open_proxy_socket)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._proxy_pool_classes
        return manager


def _pool_classes(open_socket: OpenSocket) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return open_socket(self)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return open_socket(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _Watchdog:
    """Shuts down the connections of a session when its time is over, or when there is no progress in time.

    A read time-out starts again with every byte, so without this a server that sends a byte now and then, in a header
    for example, could occupy a worker for ever.
    """

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self._ends_at = time.monotonic() + total_s
        self._progress_by = math.inf
        self._is_stopped = False
        self._has_ended = False
        self._change = threading.Condition()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._watch, name="session-watchdog", daemon=True).start()

    @property
    def has_ended(self) -> bool:
        return self._has_ended or self.remaining_s() <= 0

    @property
    def is_stalled(self) -> bool:
        return self._progress_by < self._ends_at

    def remaining_s(self) -> float:
        return min(self._ends_at, self._progress_by) - time.monotonic()

    def expect_progress(self, within_s: float) -> None:
        with self._change:
            if self.has_ended:
                return  # what arrives from now on may have been cut off
            earlier, self._progress_by = self._progress_by, time.monotonic() + within_s
            if self._progress_by < earlier:
                self._change.notify()

    def watch(self, opened: socket.socket) -> socket.socket:
        # TLS detaches the descriptor from the socket object; a duplicate still refers to the connection.
        with self._change:
            self._sockets.append(opened.dup())
        if self.has_ended:
            self._shut_down()
        return opened

    def stop(self) -> None:
        with self._change:
            self._is_stopped = True
            self._change.notify()
            while self._sockets:
                self._sockets.pop().close()

    def _watch(self) -> None:
        with self._change:
            while not self._is_stopped and not self.has_ended:
                self._change.wait(self.remaining_s())
        self._shut_down()

    def _shut_down(self) -> None:
        with self._change:
            self._has_ended = self._has_ended or not self._is_stopped
            for watched in self._sockets:
                with suppress(OSError):
                    watched.shutdown(socket.SHUT_RDWR)
