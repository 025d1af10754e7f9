"""The limit on bcrypt checks that one process makes at a time.

A check takes a quarter of a second of one core, as bcrypt intends. Clients without credentials can ask for as many as
they like, so a process makes two at a time, of which strangers get one. The other is for names that have logged in from
the client's address before, so strangers at any number of addresses cannot keep users out. Nobody waits for a check:
waiting requests would take all threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

RETRY_AFTER_S = 1


class TooManyChecksError(Exception):
    """As many passwords as allowed are being checked."""


class PasswordChecks:
    """Two checks at a time, one of them only for clients that are known."""

    def __init__(self) -> None:
        self._for_all = threading.Lock()
        self._for_known = threading.Lock()

    @contextmanager
    def one(self, *, is_known: bool) -> Iterator[None]:
        """Make one check in this block. Raises `TooManyChecksError` at once if there are too many already."""
        locks = (self._for_known, self._for_all) if is_known else (self._for_all,)
        taken = next((lock for lock in locks if lock.acquire(blocking=False)), None)
        if taken is None:
            raise TooManyChecksError
        try:
            yield
        finally:
            taken.release()
