"""Redis outages in the log: one line when an outage begins, one a minute while it lasts, and one at its end.

During an outage every call of every worker fails, several times a second; a line for each would hide everything else.
"""

from __future__ import annotations

import time

import structlog
from redis import RedisError, ResponseError

from uvr.redis.errors import code, is_transient

log = structlog.get_logger()

_REMIND_EVERY_S = 60.0


class OutageLog:
    """The outages that one worker, or one claim, sees; every line has `facts`, which say whose they are."""

    def __init__(self, **facts: str) -> None:
        self._facts = facts
        self._began_at: float | None = None
        self._remind_at = 0.0
        self._kind = ""

    def failed(self, error: RedisError) -> None:
        """A call failed. Logs it if it is the first one, another kind of error, or a minute after the last line.

        The line is critical if no waiting will help.
        """
        # The class, or for an answer without a class of its own the word that names its kind.
        kind = code(error) if type(error) is ResponseError else type(error).__name__
        now = time.monotonic()
        if self._began_at is None:
            self._began_at = now
        elif kind == self._kind and now < self._remind_at:
            return
        self._kind, self._remind_at = kind, now + _REMIND_EVERY_S
        since = {"since_s": round(now - self._began_at)} if now > self._began_at else {}
        if is_transient(error):
            log.warning("redis.unavailable", error=str(error), **since, **self._facts)
        else:
            log.critical("redis.refused", error=str(error), **since, **self._facts)

    def recovered(self) -> None:
        """A call succeeded."""
        if self._began_at is not None:
            log.info("redis.back", away_s=round(time.monotonic() - self._began_at, 1), **self._facts)
            self._began_at = None
