"""Rate limits: requests per user, and failed logins per name and address. Counted in Redis, for all processes.

    R:rate:{user}               String  when the user's full allowance is back, ms
    R:failed:{origin}           String  number of recent failed logins
    R:failed:{origin}:wait      String  exists while {origin} has to wait

R is the task queue's name. {origin} is the hash of a client address and a user name, so one client cannot lock a user
out from another address. All keys expire by themselves.
"""

from __future__ import annotations

import time
from hashlib import sha256
from http import HTTPStatus
from math import ceil

from flask import abort
from redis import Redis

from uvr.api.problems import problem
from uvr.redis import scripts

_FREE_FAILURES = 5
_MAX_WAIT_S = 300
_FAILURES_EXPIRE_S = 900
_UNLIMITED_CACHE_S = 1.0
_MAX_UNLIMITED_CACHED = 1000


class RequestRate:
    """At most `per_minute` requests for each user; 0 means no limit. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str, per_minute: int) -> None:
        self._root = root
        self._per_minute = per_minute
        self._take = scripts.register(client, "rate_limits/take")

    def take(self, user: str) -> None:
        """Count a request of this user, or end it with a 429 if the allowance is used up."""
        if not self._per_minute:
            return
        if wait_ms := int(self._take(keys=[f"{self._root}:rate:{user}"], args=[self._per_minute])):
            detail = f"You may send {self._per_minute} requests per minute; try again after Retry-After seconds."
            _refuse(detail, wait_ms / 1000)


class FailedLogins:
    """Makes failed logins for one name from one address take longer and longer; other addresses are not affected.

    That a name need not wait is cached for a second, until the next failed login, to save requests with the right
    password a round trip to Redis. So each process may let one wrong password too many through. Methods may raise
    `redis.RedisError`.
    """

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._root = root
        self._fail = scripts.register(client, "rate_limits/fail")
        self._unlimited_until: dict[tuple[str, str], float] = {}

    def check(self, address: str, name: str) -> None:
        """End the request with a 429, even with the right password, while this name has to wait at this address."""
        if self._unlimited_until.get((address, name), 0.0) > time.monotonic():
            return
        wait_ms = int(self._client.pttl(self._keys(address, name)[1]))
        if wait_ms > 0:
            _refuse("Too many failed logins; try again after Retry-After seconds.", wait_ms / 1000)
        if len(self._unlimited_until) >= _MAX_UNLIMITED_CACHED:
            self._unlimited_until.clear()
        self._unlimited_until[address, name] = time.monotonic() + _UNLIMITED_CACHE_S

    def count(self, address: str, name: str) -> None:
        """Count a failed login. The fifth makes the name wait for a second, each further one twice as long."""
        self._fail(keys=self._keys(address, name), args=[_FREE_FAILURES, _MAX_WAIT_S, _FAILURES_EXPIRE_S])
        self._unlimited_until.pop((address, name), None)

    def _keys(self, address: str, name: str) -> list[str]:
        # Hashed, because anybody chooses names, and people type passwords into the name field.
        failures = f"{self._root}:failed:{sha256(f'{address} {name}'.encode()).hexdigest()[:32]}"
        return [failures, f"{failures}:wait"]


def _refuse(detail: str, wait_s: float) -> None:
    abort(problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=ceil(wait_s)))
