"""How many requests may hold a thread of this process for minutes, and each user's share of them.

Uploads and archives of stems last as long as the client likes, and a process has few threads. So each kind gets at
most half of them, both together leave a quarter free, and with a users file one user gets at most half of each kind.
Streams of events hold no thread, but a connection, so they have a number of their own. All other requests are over in a
moment and need no slot. Without a slot, a request is refused before its body is read.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import NoReturn, Self

from flask import abort

from uvr.api.problems import problem

_RETRY_AFTER_S = 10


class LongRequests:
    """Counts the long requests of a process with that many `threads`; safe to use from several threads.

    Without users besides the admin (`has_users`), the admin may have all slots.
    """

    def __init__(self, threads: int, *, has_users: bool) -> None:
        self.max_of_a_kind = max(1, threads // 2)
        self.max_per_user = (self.max_of_a_kind + 1) // 2 if has_users else self.max_of_a_kind
        self._max = max(self.max_of_a_kind, threads - max(1, threads // 4))
        self._held: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def begin(self, kind: str, user: str) -> HTTPStatus | None:
        """Count a request of this kind, or return why not: 429 for the user's own share, 503 if all slots are taken."""
        with self._lock:
            if self._held[kind, user] >= self.max_per_user < self.max_of_a_kind:
                return HTTPStatus.TOO_MANY_REQUESTS
            of_this_kind = sum(count for (held, _), count in self._held.items() if held == kind)
            if of_this_kind >= self.max_of_a_kind or self._held.total() >= self._max:
                return HTTPStatus.SERVICE_UNAVAILABLE
            self._held[kind, user] += 1
            return None

    def end(self, kind: str, user: str) -> None:
        """Give back what `begin` has counted."""
        with self._lock:
            self._held[kind, user] -= 1
            self._held += Counter()  # forgets the users that hold nothing


class OpenStreams(LongRequests):
    """Counts the streams of events of a process. With users besides the admin, each gets at most a tenth."""

    def __init__(self, max_streams: int, *, has_users: bool) -> None:
        super().__init__(max_streams, has_users=has_users)
        self._has_users = has_users
        self.limit_to(max_streams)

    def limit_to(self, max_streams: int) -> None:
        """Accept no more than so many."""
        self._max = self.max_of_a_kind = max_streams
        self.max_per_user = math.ceil(max_streams / 10) if self._has_users else max_streams


class Slot:
    """The right of a request to hold its thread, until `release` or the end of the `with` block."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back:
            give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Slots:
    """The slots of one kind of long request: "upload", "download" or "stream"."""

    def __init__(self, requests: LongRequests, kind: str, *, instead: str) -> None:
        self._requests = requests
        self._kind = kind
        self._instead = instead

    def take(self, user: str) -> Slot:
        """A slot for a request of `user`. Ends the request with 429 (the user's own share) or 503 if there is none."""
        if refusal := self._requests.begin(self._kind, user):
            self._refuse(refusal)
        return Slot(lambda: self._requests.end(self._kind, user))

    def _refuse(self, status: HTTPStatus) -> NoReturn:
        share = self._requests.max_per_user
        plural = "" if share == 1 else "s"
        limits = {
            HTTPStatus.TOO_MANY_REQUESTS: f"One user may have {share} {self._kind}{plural} at a time in each process",
            HTTPStatus.SERVICE_UNAVAILABLE: f"The service has as many {self._kind}s at the moment as it can serve",
        }
        detail = f"{limits[status]}; {self._instead}try again after Retry-After seconds."
        abort(problem(status, detail, retry_after_s=_RETRY_AFTER_S))


class EventStreams(Slots):
    """The streams of events of this process; clients reconnect by themselves when it ends them."""

    def __init__(self, streams: OpenStreams) -> None:
        super().__init__(streams, "stream", instead="poll GET /tasks or GET /tasks/{task_uuid} instead, or ")
        self._streams = streams
        self._is_serving: Callable[[], bool] = lambda: True
        self._ended = 0

    def serve(self, *, max_streams: int, is_serving: Callable[[], bool]) -> None:
        """Accept at most `max_streams`, and end all of them as soon as `is_serving()` is false."""
        self._streams.limit_to(min(self._streams.max_of_a_kind, max_streams))
        self._is_serving = is_serving

    def end_all(self) -> None:
        """End those that are open now, each at its next step."""
        self._ended += 1

    def until_end(self) -> Callable[[], bool]:
        """A function that says whether a stream that begins now may continue."""
        ended = self._ended
        return lambda: self._ended == ended and self._is_serving()
