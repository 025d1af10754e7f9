"""Limits how many threads deliver to one host at the same time, so that a slow receiver delays only its own webhooks.

A host is a name with its port. At most half of the threads deliver to one host, and at most an eighth after it was
slow, but always at least one. A webhook in excess gets the number of seconds after which to ask again: as long as the
host will take for all webhooks that were turned away since it last had a free thread. So every webhook gets its turn,
and ten thousand webhooks for an unreachable host cause some hundred claims a second instead of an endless loop. Each
process counts for itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_SLOW_S = 1.0
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.2, 60.0
_MAX_IDLE_SLOW_HOSTS = 1000
"""How many slow hosts are remembered while nothing is sent to them."""


@dataclass
class _Host:
    """`took_s` is the duration of the latest delivery; a new host counts as neither quick nor slow."""

    busy: int = 0
    turned_away: int = 0
    took_s: float = _SLOW_S / 2


class HostLimits:
    """The hosts that `threads` threads deliver to. Safe to use from all of them at once."""

    def __init__(self, threads: int) -> None:
        self._max_busy = max(1, threads // 2)
        self._max_busy_slow = max(1, threads // 8)
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, url: str) -> Iterator[float]:
        """Yields 0 if the block may deliver to `url`, otherwise the number of seconds after which to ask again."""
        name = urlsplit(url).netloc.lower()
        pause_s = 0.0
        with self._lock:
            host = self._hosts.setdefault(name, _Host())
            max_busy = self._max_busy_slow if host.took_s > _SLOW_S else self._max_busy
            if host.busy < max_busy:
                host.busy += 1
                host.turned_away = 0
            else:
                host.turned_away += 1
                pause_s = min(max(host.turned_away * host.took_s / max_busy, _MIN_PAUSE_S), _MAX_PAUSE_S)
        if pause_s:
            yield pause_s
            return
        started = time.monotonic()
        try:
            yield 0
        finally:
            with self._lock:
                host.busy -= 1
                host.took_s = time.monotonic() - started
                if not host.busy and (host.took_s <= _SLOW_S or len(self._hosts) > _MAX_IDLE_SLOW_HOSTS):
                    del self._hosts[name]
