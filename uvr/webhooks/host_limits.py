"""How many threads one receiver of webhooks may hold, so that a slow one delays nobody but itself.

A receiver is a host with its port. At most half of the threads serve one receiver, and an eighth once it was slow, at
least one. Whoever comes in excess is told when to ask again: the pause is the time that those who were turned away
before it will take, and it begins anew with every turn that is given. So nobody starves, and ten thousand webhooks to
one dead receiver ask some hundred times a second and not without end. Counted within one process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_SLOW_S = 1.0
_SHORTEST_PAUSE_S, _MAX_PAUSE_S = 0.2, 60.0
_REMEMBERED = 1000
"""Slow receivers whose slowness is remembered while nothing is sent to them."""


@dataclass
class _Receiver:
    """`took_s` is how long its last answer took; one that is not known yet is taken for neither quick nor slow."""

    busy: int = 0
    turned_away: int = 0
    took_s: float = _SLOW_S / 2


class HostLimits:
    """The receivers that `threads` threads deliver to; may be used by all of them at once."""

    def __init__(self, threads: int) -> None:
        self._share = max(1, threads // 2)
        self._slow_share = max(1, threads // 8)
        self._receivers: dict[str, _Receiver] = {}
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, url: str) -> Iterator[float]:
        """0: a turn to deliver to `url` that lasts as long as the block. Else the seconds after which to ask again."""
        name = urlsplit(url).netloc.lower()
        if pause_s := self._enter(name):
            yield pause_s
            return
        started = time.monotonic()
        try:
            yield 0
        finally:
            self._leave(name, time.monotonic() - started)

    def _enter(self, name: str) -> float:
        with self._lock:
            receiver = self._receivers.setdefault(name, _Receiver())
            share = self._slow_share if receiver.took_s > _SLOW_S else self._share
            if receiver.busy < share:
                receiver.busy += 1
                receiver.turned_away = 0
                return 0
            receiver.turned_away += 1
            expected_s = receiver.turned_away * receiver.took_s / share
            return min(max(expected_s, _SHORTEST_PAUSE_S), _MAX_PAUSE_S)

    def _leave(self, name: str, took_s: float) -> None:
        with self._lock:
            receiver = self._receivers[name]
            receiver.busy -= 1
            receiver.took_s = took_s
            if not receiver.busy and (took_s <= _SLOW_S or len(self._receivers) > _REMEMBERED):
                del self._receivers[name]
