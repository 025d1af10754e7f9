"""Limits how many downloads one host and one user have at the same time, so that others always find a free place.

A host is a name or an address with its port. It gets all places but one. With a users file, each user gets half of
them; otherwise there is only one user, who has no limit. A task in excess learns after how many seconds to ask again:
after as long as the share will take for all tasks that were turned away since it last had a free place, judging by the
downloads that have the places now. So a thousand songs of a slow host cause some claims a second and not an endless
loop, and the songs behind them are reached. Each processor counts for itself.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from uvr.tasks.model import Task

_MIN_PAUSE_S, _MAX_PAUSE_S = 1.0, 60.0
_PORTS = {"http": 80, "https": 443}


@dataclass
class _Share:
    """The downloads of one host or user: when each began, and how many were turned away since a place was free."""

    began: list[float] = field(default_factory=list)
    turned_away: int = 0

    def pause_s(self) -> float:
        self.turned_away += 1
        each_s = (time.monotonic() - self.began[0]) / len(self.began)
        return min(max(self.turned_away * each_s, _MIN_PAUSE_S), _MAX_PAUSE_S)


class DownloadShares:
    """Who uses the `max_downloads` places, and who may. Safe to use from several threads."""

    def __init__(self, max_downloads: int, *, has_users: bool) -> None:
        self._max_of_host = max(1, max_downloads - 1)
        self._max_of_user = max(1, max_downloads // 2) if has_users else math.inf
        self._shares: dict[str, _Share] = {}
        self._lock = threading.Lock()

    def take(self, task: Task) -> DownloadPlace:
        """A place to download the song of `task`, or a pause while its host or its owner has used up its share.

        An uploaded song comes from the service's own storage and needs no share.
        """
        if task.upload:
            return DownloadPlace(self)
        limits = {f"host {_host(task.audio)}": self._max_of_host, f"user {task.owner}": self._max_of_user}
        with self._lock:
            full = [share for name, share in self._shares.items() if len(share.began) >= limits.get(name, math.inf)]
            if full:
                return DownloadPlace(self, pause_s=max(share.pause_s() for share in full))
            place = DownloadPlace(self, tuple(limits))
            for name in limits:
                self._shares.setdefault(name, _Share()).began.append(place.began)
        return place

    def give_back(self, place: DownloadPlace) -> None:
        """End a download."""
        with self._lock:
            for name in place.shares:
                share = self._shares[name]
                share.began.remove(place.began)
                share.turned_away = 0
                if not share.began:
                    del self._shares[name]


class DownloadPlace:
    """The answer to a task that wants to download: go ahead until the block ends, or wait.

    With a `pause_s` above 0 there is no place, and the task should ask again after so many seconds.
    """

    def __init__(self, owner: DownloadShares, shares: tuple[str, ...] = (), *, pause_s: float = 0.0) -> None:
        self._owner = owner
        self.shares = shares
        self.pause_s = pause_s
        self.began = time.monotonic()

    def leave(self) -> None:
        """Give the place back before the block ends."""
        self._owner.give_back(self)
        self.shares = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()


def _host(url: str) -> str:
    """The host and port of a URL that was accepted, in one spelling."""
    parts = urlsplit(url)
    return f"{(parts.hostname or '').rstrip('.')}:{parts.port or _PORTS.get(parts.scheme, 0)}"
