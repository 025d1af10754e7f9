"""The one gate for URLs that clients give: only public addresses, and the socket goes to the very address checked.

A harmless name may resolve to the cloud's metadata service, perhaps only at the second look (DNS rebinding). So the
check sits where sockets are opened: a name is resolved once, every address it has must be public or in a network that
the operator opened, and the connection is made to exactly these. The Host header, SNI and the certificate check keep
the URL's own name, because nothing above the socket knows of it. docs/decisions/0001-url-guard.md gives the reasons.

With a proxy, sockets go to the proxy, which resolves names by itself: then the guard judges what can be judged from
here before each request, and what it cannot see is the proxy's to refuse (docs/decisions/0015-proxies.md).
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from uvr.errors import PermanentError, TransientError, UvrError
from uvr.net.http_status import described, is_transient

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str], Sequence[Address]]
OpenSocket = Callable[[HTTPConnection], socket.socket]

# What else urllib3 takes for a host means one thing to one parser and another to the next, and is in no DNS.
_HOST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,253}|\[[0-9A-Fa-f:.]+\]")

# Names without a dot, those reserved for one's own network, and what browsers take for an IPv4 address.
_LOCAL_NAME = re.compile(r"[^.]+|(?:.+\.)?(?:localhost|local|internal|home\.arpa|\d+|0x[0-9a-f]*)", re.IGNORECASE)

# How http.client tells what a proxy answered to CONNECT.
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")

# Everything in IPv6 that is not global unicast (loopback, mapped, NAT64, link-local, multicast, …) lies outside this.
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")

# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, and two of our own. A list
# here, because what `ipaddress` calls global differs between patch releases of Python.
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
        "168.63.129.16/32",  # ours: Azure's host agent answers its machines under this public address
        "2001::/23",  # protocol assignments, Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3ffe::/16",  # ours: the former 6bone, given back
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet and to nothing special inside it."""
    if address.version == 6 and address not in _GLOBAL_UNICAST_V6:
        return False
    return not any(address in network for network in _NOT_PUBLIC)


def resolve(host: str) -> list[Address]:
    """Every address of a name, or of an address in any spelling the system takes (0x7f.1 is 127.0.0.1)."""
    return [ip_address(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class UrlGuard:
    """The rule which hosts may be reached. `allowed_private_networks` opens these networks and nothing else.

    `proxy`, if not empty, is the http:// URL of the proxy that leads to all other networks. `resolver` stands in for
    the system's name resolution where a test needs names of its own.
    """

    def __init__(
        self, allowed_private_networks: Sequence[Network], *, proxy: str = "", resolver: Resolver = resolve
    ) -> None:
        self.proxy = proxy
        self._allowed = tuple(allowed_private_networks)
        self._resolver = resolver

    def check(self, url: str, field: str) -> None:
        """Refuse a URL that no connection could be right for, without asking DNS.

        Raises `PermanentError`, its sentence beginning with `field`, the name under which the client gave the URL.
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
        self._admit(_literal(parts.host), f"{field} names the host {parts.host}, which")

    def session(self, total_s: float) -> GuardedSession:
        """A session whose every connection is checked and pinned; all it does ends within `total_s` seconds."""
        return GuardedSession(self, total_s)

    def addresses(self, host: str) -> Sequence[Address]:
        """The addresses of `host`, all of them admitted; asks DNS.

        Raises `PermanentError` for a host with an address that is not public, `TransientError` for one without any.
        """
        try:
            found = self._resolver(host)
        except (OSError, UnicodeError) as error:
            raise TransientError(f"The host name {host} could not be resolved; check its spelling.") from error
        self._admit(found, f"The host {host}")
        return found

    def needs_proxy(self, host: str) -> bool:
        """Whether the way to `host` is through the proxy: not without one, and not to networks that were opened.

        Asks DNS. Raises `PermanentError` for a host with an address that is not public, and for a name that cannot be
        resolved here and means nothing outside of a private network.
        """
        if not self.proxy:
            return False
        try:
            found = self._resolver(host)
        except (OSError, UnicodeError) as error:
            if _LOCAL_NAME.fullmatch(host):
                raise PermanentError(f"The host {host} has no public name.") from error
            return True
        self._admit(found, f"The host {host}")
        return not all(map(self._is_allowed, found))

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allowed)

    def _admit(self, addresses: Sequence[Address], subject: str) -> None:
        for address in addresses:
            if not is_public(address) and not self._is_allowed(address):
                raise PermanentError(
                    f"{subject} is not at a public address. The operator of this service can open its network with "
                    "ALLOWED_PRIVATE_NETWORKS.",
                    address=str(address),
                )


class GuardedSession(requests.Session):
    """A `requests` session behind a guard: no redirects followed, no proxies or .netrc from the environment.

    Besides the exceptions of requests it raises those of `UrlGuard`, unchanged, and `TransientError` or
    `PermanentError` for a proxy that cannot be reached or refuses. Close it after use.
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
        """Whether the session's time is over; errors after that moment, and ends of bodies, are of its making."""
        return self._watchdog.remaining_s() <= 0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As in requests; raises `requests.Timeout` too when the session's time ends before the header does."""
        host = (parse_url(request.url or "").host or "").strip("[]").rstrip(".")
        proxy = self._guard.proxy if self._guard.needs_proxy(host) else ""
        kwargs["proxies"] = {"http": proxy, "https": proxy} if proxy else {}
        try:
            response = super().send(request, **kwargs)
        except requests.exceptions.ProxyError as error:
            if self.expired:
                raise
            raise _proxy_refusal(error, host) from error
        if self.expired:
            # A header that was cut off is taken for a short one.
            response.close()
            raise requests.Timeout(request=request)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: with `allow_redirects=False` alone, requests would still read a redirect's whole body into memory."""
        return None

    def close(self) -> None:
        """Close the connections and end the watch over them."""
        super().close()
        self._watchdog.stop()

    def _open_socket(self, connection: HTTPConnection) -> socket.socket:
        refusal = f"The host {connection.host} does not accept connections on port {connection.port}."
        return self._connected(self._guard.addresses(connection.host), connection, refusal)

    def _open_proxy_socket(self, connection: HTTPConnection) -> socket.socket:
        # The operator chose the proxy, so it may stand in a private network; clients do not learn its name.
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
            # A refused or silent address is no reason to give up while the name has others.
            with suppress(OSError):
                return self._watchdog.watch(_connect(address, connection.port, timeout_s))
        raise TransientError(refusal, host=connection.host, port=connection.port)


def _connect(address: Address, port: int, timeout_s: float) -> socket.socket:
    opened = socket.create_connection((str(address), port), timeout_s)
    # Header and body leave in two writes; without this the second would wait for the receiver's delayed ACK.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _proxy_refusal(error: requests.exceptions.ProxyError, host: str) -> UvrError:
    answered = _TUNNEL_REFUSED.search(str(error))
    if not answered:
        return TransientError("The connection to the proxy of this service broke off.")
    status = int(answered[1])
    kind = PermanentError if 400 <= status < 500 and not is_transient(status) else TransientError
    return kind(
        f"The proxy of this service does not connect to {host}: it answered {described(status)}.", status=status
    )


def _literal(host: str) -> Sequence[Address]:
    try:
        # urllib3 takes the dot away with which a name may end, so 127.0.0.1. is an address as well.
        plain = host.strip("[]").rstrip(".")
        found = socket.getaddrinfo(plain, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [ip_address(info[4][0]) for info in found]


class _GuardedAdapter(HTTPAdapter):
    """An adapter that hands urllib3 connection pools whose connections get their socket from `open_socket`.

    Those to a proxy get it from `open_proxy_socket`.
    """

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
    """A timer that shuts the connections of a session down once its time is over.

    Read time-outs start anew with every byte, so a server that sends one byte now and then, in a header say, would
    hold a worker for ever.
    """

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self._ends_at = time.monotonic() + total_s
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(total_s, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def remaining_s(self) -> float:
        return self._ends_at - time.monotonic()

    def watch(self, opened: socket.socket) -> socket.socket:
        # TLS takes the descriptor out of the socket object; a duplicate still reaches the connection.
        with self._lock:
            self._sockets.append(opened.dup())
        if self.remaining_s() <= 0:
            self._shut_down()
        return opened

    def stop(self) -> None:
        self._timer.cancel()
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    def _shut_down(self) -> None:
        with self._lock:
            for watched in self._sockets:
                with suppress(OSError):
                    watched.shutdown(socket.SHUT_RDWR)
