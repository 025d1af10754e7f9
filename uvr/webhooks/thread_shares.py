"""Shares out the threads that deliver webhooks, so that slow receivers of one user do not delay those of others.

A receiver is a host with its port, as one user's tasks name it. It is *proven* once a delivery to it took at most a
second, until one takes longer. What is not proven, because it is new or slow, may hold a thread until the time-out. An
attacker gets such receivers for nothing: each port, and each name below a wildcard, is a new one. So all receivers that
are not proven have a common share, however many there are. With several users, each user has at most half of every
share. Of all threads, at least one in each share:

    one receiver                    1/2 if it is proven, 1/4 if it is new, 1/8 if it is slow
    all that are new or slow        1/2, of one user 1/4
    all that are slow               1/4, of one user 1/8
    all receivers of one user       1/2

A webhook in excess gets the number of seconds after which to ask again: as long as the full share will take for all
webhooks of this user that it has turned away since one got in. So each gets its turn, and ten thousand webhooks for an
unreachable host cause some hundred claims a second instead of an endless loop. Each process counts for itself.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_SLOW_S = 1.0
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.2, 60.0
_MAX_RECEIVERS = 10_000
"""How many receivers are remembered; a forgotten one counts as new."""


@dataclass
class _Group:
    """Deliveries that share threads; `took_s` is the duration of the latest one."""

    busy: int = 0
    took_s: float = _SLOW_S / 4
    turned_away: Counter[str] = field(default_factory=Counter)
    """For each user, how many webhooks were turned away since one got in."""


@dataclass
class _Receiver(_Group):
    is_new: bool = True
    """Whether no delivery has ended yet."""

    @property
    def is_slow(self) -> bool:
        return self.took_s > _SLOW_S

    @property
    def is_proven(self) -> bool:
        return not (self.is_new or self.is_slow)


class ThreadShares:
    """The shares of `threads` threads; with `has_users` each user has one. Safe to use from all threads at once."""

    def __init__(self, threads: int, *, has_users: bool) -> None:
        self._threads = threads
        self._has_users = has_users
        self._receivers: dict[tuple[str, str], _Receiver] = {}
        self._groups: defaultdict[tuple[str, str], _Group] = defaultdict(_Group)
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, user: str, url: str) -> Iterator[float]:
        """Yields 0 if the block may deliver a webhook of `user` to `url`, otherwise for how many seconds to wait.

        A block that raises an error says nothing about the receiver.
        """
        with self._lock:
            receiver = self._receiver(user, urlsplit(url).netloc.lower())
            shares = self._shares(user, receiver)
            pause_s = self._enter(user, receiver, shares)
        if pause_s:
            yield pause_s
            return
        started = time.monotonic()
        try:
            yield 0
            with self._lock:
                receiver.is_new = False
                for group, _ in shares:
                    group.took_s = time.monotonic() - started
        finally:
            with self._lock:
                for group, _ in shares:
                    group.busy -= 1

    def _receiver(self, user: str, host: str) -> _Receiver:
        """The receiver, which is now the last to be forgotten."""
        receiver = self._receivers.pop((user, host)) if (user, host) in self._receivers else _Receiver()
        self._receivers[user, host] = receiver
        if len(self._receivers) > _MAX_RECEIVERS:
            del self._receivers[next(key for key, other in self._receivers.items() if not other.busy)]
        return receiver

    def _shares(self, user: str, receiver: _Receiver) -> list[tuple[_Group, int]]:
        """The groups that a delivery belongs to, each with its number of threads."""
        if receiver.is_proven:
            own, kinds = 1 / 2, {"any": 1.0}
        elif receiver.is_slow:
            own, kinds = 1 / 8, {"slow": 1 / 4, "not proven": 1 / 2, "any": 1.0}
        else:
            own, kinds = 1 / 4, {"not proven": 1 / 2, "any": 1.0}
        fractions: list[tuple[_Group, float]] = [(receiver, own)]
        for kind, fraction in kinds.items():
            if self._has_users:
                fractions.append((self._groups[kind, f"user {user}"], fraction / 2))
            fractions.append((self._groups[kind, "all"], fraction))
        return [(group, max(1, int(self._threads * fraction))) for group, fraction in fractions]

    @staticmethod
    def _enter(user: str, receiver: _Receiver, shares: list[tuple[_Group, int]]) -> float:
        """Take a thread of every share and return 0; or, if one of them is used up, return how long to wait."""
        for group, max_busy in shares:
            if group.busy >= max_busy:
                group.turned_away[user] += 1
                took_s = receiver.took_s if receiver.is_proven else max(receiver.took_s, group.took_s)
                pause_s = group.turned_away[user] * took_s / max_busy
                return min(max(pause_s, _MIN_PAUSE_S), _MAX_PAUSE_S)
        for group, _ in shares:
            group.busy += 1
            del group.turned_away[user]
        return 0
