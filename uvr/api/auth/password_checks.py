"""The limit on bcrypt checks that one process makes at a time.

A check takes a quarter of a second of one core, as bcrypt intends. Clients without credentials can ask for as many as
they like, so a process makes two at a time, of which strangers get one. The other is for names that have logged in from
the client's address before, so strangers at any number of addresses cannot keep users out. Strangers never wait for a
check, because waiting requests would take all threads. Two requests of known names may wait a second: the first
requests of a client often come at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

RETRY_AFTER_S = 1
PATIENCE_S = 1.0
"""How long a request of a known name may wait for a check."""

_MAX_WAITING = 2


class TooManyChecksError(Exception):
    """As many passwords as allowed are being checked."""


class PasswordChecks:
    """Two checks at a time, one of them only for clients that are known."""

    def __init__(self) -> None:
        self._for_all = threading.Lock()
        self._for_known = threading.Lock()
        self._may_wait = threading.BoundedSemaphore(_MAX_WAITING)

    @contextmanager
    def one(self, *, is_known: bool, patience_s: float = 0.0) -> Iterator[bool]:
        """Make one check in this block. Yields whether it had to wait, which only known clients do, for `patience_s`.

        Raises `TooManyChecksError` if there are too many already.
        """
        locks = (self._for_known, self._for_all) if is_known else (self._for_all,)
        taken = next((lock for lock in locks if lock.acquire(blocking=False)), None)
        has_waited = taken is None
        if taken is None and is_known and patience_s and self._may_wait.acquire(blocking=False):
            try:
                taken = self._for_known if self._for_known.acquire(timeout=patience_s) else None
            finally:
                self._may_wait.release()
        if taken is None:
            raise TooManyChecksError
        try:
            yield has_waited
        finally:
            taken.release()
