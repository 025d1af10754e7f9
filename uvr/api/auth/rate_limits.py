"""How often somebody may ask: requests of a user, and passwords that were wrong. Counted in Redis, for all processes.

    R:rate:{user}               String  when the user will have used up nothing any more, ms
    R:failed:{who}              String  wrong passwords of late
    R:failed:{who}:wait         String  there while {who} has to wait

R is the task queue's name; {who} is the hash of an address and the name that was tried from there, so that nobody can
keep a user out from elsewhere. All of these expire by themselves.
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
_FORGOTTEN_AFTER_S = 900
_FREE_HOLDS_S = 1.0
_MAX_FREE = 1000


class RequestRate:
    """At most `per_minute` requests of each user, 0 for any number."""

    def __init__(self, client: Redis, root: str, per_minute: int) -> None:
        self._root = root
        self._per_minute = per_minute
        self._take = scripts.register(client, "rate_limits/take")

    def take(self, user: str) -> None:
        """Count a request of this user, or end it with a 429."""
        if not self._per_minute:
            return
        if wait_ms := int(self._take(keys=[f"{self._root}:rate:{user}"], args=[self._per_minute])):
            detail = f"You may send {self._per_minute} requests a minute; send it again after Retry-After seconds."
            _refuse(detail, wait_ms / 1000)


class FailedLogins:
    """Wrong passwords for one name from one address cost more and more time; from other addresses they cost nothing.

    Who need not wait is known for a second without another look into Redis, but only until the next wrong password, so
    that this spares requests with right ones alone. Where others sign in under the same name and address, each process
    may let one wrong password more through.
    """

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._root = root
        self._fail = scripts.register(client, "rate_limits/fail")
        self._free_until: dict[tuple[str, str], float] = {}

    def check(self, address: str, name: str) -> None:
        """End the request with a 429, whatever its password, while this name has to wait at this address."""
        if self._free_until.get((address, name), 0.0) > time.monotonic():
            return
        wait_ms = int(self._client.pttl(self._keys(address, name)[1]))
        if wait_ms > 0:
            _refuse("Too many passwords were wrong; try again after Retry-After seconds.", wait_ms / 1000)
        if len(self._free_until) >= _MAX_FREE:
            self._free_until.clear()
        self._free_until[address, name] = time.monotonic() + _FREE_HOLDS_S

    def count(self, address: str, name: str) -> None:
        """Another wrong one: the fifth costs a second, and each one after it twice as long as the one before."""
        self._fail(keys=self._keys(address, name), args=[_FREE_FAILURES, _MAX_WAIT_S, _FORGOTTEN_AFTER_S])
        self._free_until.pop((address, name), None)

    def _keys(self, address: str, name: str) -> list[str]:
        # Hashed, because names come from anybody, and people type passwords where names belong.
        failures = f"{self._root}:failed:{sha256(f'{address} {name}'.encode()).hexdigest()[:32]}"
        return [failures, f"{failures}:wait"]


def _refuse(detail: str, wait_s: float) -> None:
    abort(problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={"Retry-After": str(ceil(wait_s))}))
