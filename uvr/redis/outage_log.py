"""Trouble with Redis in the log: when it begins, once a minute while it lasts, and when it is over.

An outage fails every call of every worker, several times a second; saying so each time would bury all else.
"""

from __future__ import annotations

import time

import structlog
from redis import RedisError, ResponseError

from uvr.redis.errors import code, is_transient

log = structlog.get_logger()

_REMIND_EVERY_S = 60.0


class OutageLog:
    """What one worker, or one claim, tells of its trouble with Redis; `facts` say whose it is."""

    def __init__(self, **facts: str) -> None:
        self._facts = facts
        self._began_at: float | None = None
        self._remind_at = 0.0
        self._kind = ""

    def tell(self, error: RedisError) -> None:
        """A call failed: said at once if that is news, critical if no waiting will help."""
        now, kind = time.monotonic(), _kind(error)
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

    def over(self) -> None:
        """A call succeeded."""
        if self._began_at is not None:
            log.info("redis.back", away_s=round(time.monotonic() - self._began_at, 1), **self._facts)
            self._began_at = None


def _kind(error: RedisError) -> str:
    """The code of an answer that redis-py has no class for, or the class."""
    return code(error) if type(error) is ResponseError else type(error).__name__
