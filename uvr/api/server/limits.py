"""What one client may take: how slow it may be, and how many connections its address may have."""

from __future__ import annotations

from dataclasses import dataclass

from config import Settings
from uvr.net.hosts import Network

_SLOWEST_BYTES_PER_S = 8 * 2**10
"""Slower than any line over which a stem is of use; a client below it only holds a connection."""


@dataclass(frozen=True)
class ClientLimits:
    """The settings that limit clients. `max_connections` is for one address in one process; 0 means no limit."""

    timeout_s: float
    grace_s: float
    min_bytes_per_s: int
    max_connections: int
    trusted_proxies: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> ClientLimits:
        """The limits that `settings` describe."""
        return cls(
            timeout_s=settings.client_timeout_seconds,
            grace_s=settings.client_grace_seconds,
            min_bytes_per_s=settings.client_min_bytes_per_second,
            max_connections=settings.max_connections_per_address,
            trusted_proxies=settings.trusted_proxies,
        )

    def sending_pace(self) -> Pace:
        """The pace of a client that sends a body. It holds a thread, so after the grace it has to be fast."""
        slowest = (self.timeout_s, _SLOWEST_BYTES_PER_S)
        return Pace(self.timeout_s, (slowest, (self.grace_s, self.min_bytes_per_s)))

    def taking_pace(self) -> Pace:
        """The pace of a client that takes a response. It holds no thread, so a slow line is enough."""
        return Pace(self.timeout_s, ((self.timeout_s, _SLOWEST_BYTES_PER_S),))


class Pace:
    """How fast a client is while the service waits for it. Time in which the service is busy itself does not count.

    A client is too slow after a pause of `max_pause_s`; or if the service has waited for it for longer than `grace_s`
    in total, and it has moved fewer than `min_bytes_per_s` for each second after that, for any of the `min_rates`.
    """

    def __init__(self, max_pause_s: float, min_rates: tuple[tuple[float, int], ...]) -> None:
        self._max_pause_s = max_pause_s
        self._min_rates = min_rates
        self._waited_s = self._pause_s = 0.0
        self._moved_bytes = 0

    def waited(self, seconds: float, moved_bytes: int) -> None:
        """Count `seconds` of waiting, in or after which the client moved so many bytes."""
        self._waited_s += seconds
        self._moved_bytes += moved_bytes
        self._pause_s = 0.0 if moved_bytes else self._pause_s + seconds

    def resumed(self) -> None:
        """Count no pause: the service does not wait for the client at the moment."""
        self._pause_s = 0.0

    @property
    def is_too_slow(self) -> bool:
        """Whether to give up on the client."""
        return self._pause_s >= self._max_pause_s or any(
            self._moved_bytes < (self._waited_s - grace_s) * bytes_per_s for grace_s, bytes_per_s in self._min_rates
        )
