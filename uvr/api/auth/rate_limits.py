"""Rate limits: requests per user, and attempts to log in. Counted in Redis, for all processes.

    R:rate:{user}               String  when the user's full allowance is back, ms
    R:failed:{origin}           String  number of recent failed logins
    R:failed:{origin}:wait      String  exists while {origin} has to wait
    R:unknown:{address}         String  when the address's full allowance for unknown names is back, ms
    R:known:{name}              ZSet    client addresses from which the name has logged in, by the time, ms

R is the task queue's name. {origin} is the hash of a client address and a user name, so one client cannot lock a user
out from another address. All keys expire by themselves. docs/decisions/0022-two-counts-of-failed-logins.md says why
there are two counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from math import ceil
from typing import NoReturn

from flask import abort
from redis import Redis, RedisError

from uvr.api.problems import problem
from uvr.redis import scripts

_FREE_FAILURES = 5
_MAX_WAIT_S = 300
_FAILURES_EXPIRE_S = 900
_MAX_UNKNOWN = 20
_UNKNOWN_BACK_MS = 30_000
_KNOWN_S = 30 * 86400
_KNOWN_AGAIN_S = 86400  # so most logins write nothing
_MAX_KNOWN_ADDRESSES = 100
_ADMITTED_CACHE_S = 1.0
_MAX_ADMITTED_CACHED = 1000

_NAME_WAITS = (
    "Too many logins with this name from your address have failed or are being checked; "
    "try again after Retry-After seconds."
)
_ADDRESS_WAITS = (
    "Too many logins from your address have failed; names that have logged in from there before, and tokens, still "
    "work. Try again after Retry-After seconds."
)


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
            refuse(detail, wait_ms / 1000)


@dataclass(frozen=True)
class Attempt:
    """An attempt to log in that has been counted as a failure. `is_known`: the name has logged in from there before."""

    address: str
    name: str
    is_known: bool


class LoginLimits:
    """Limits on logins by name and address, and by address. Methods may raise `redis.RedisError`.

    - A name from one address: five failures are free, then each further one makes the name wait there, for a second
      and twice as long each time. The same name at other addresses is not affected.
    - An address: 20 failures with names that have not logged in from there lately, then one every half minute. Names
      that have are not affected, so a client cannot lock out others who share its address.

    While a client has to wait, right passwords are refused like wrong ones; otherwise it could go on guessing. That a
    name need not wait is not asked again for a second, until the next wrong password; this saves each request of a busy
    client a round trip to Redis. So a process that has just accepted the right password may go on accepting it for up
    to a second after the wait has begun.
    """

    def __init__(self, client: Redis, root: str) -> None:
        self._root = root
        self._admitted_until: dict[tuple[str, str], float] = {}  # monotonic s
        self._wait = scripts.register(client, "rate_limits/login_wait")
        self._attempt = scripts.register(client, "rate_limits/login_attempt")
        self._give_back = scripts.register(client, "rate_limits/login_give_back")
        self._known = scripts.register(client, "rate_limits/login_known")

    def admit(self, address: str, name: str) -> None:
        """Let a client in whose credentials are right, or end the request with a 429 while it has to wait."""
        if time.monotonic() < self._admitted_until.get((address, name), 0.0):
            return
        known_s = self._run(self._wait, address, name)
        if len(self._admitted_until) >= _MAX_ADMITTED_CACHED:
            self._admitted_until.clear()
        self._admitted_until[address, name] = time.monotonic() + _ADMITTED_CACHE_S
        if not 0 <= known_s < _KNOWN_AGAIN_S:
            with suppress(RedisError):  # a server that accepts no writes can still show tasks
                self._call(self._known, address, name, _MAX_KNOWN_ADDRESSES)

    def begin(self, address: str, name: str) -> Attempt:
        """Count a failure before the password is checked, or end the request with a 429 while the client has to wait.

        So attempts at the same time cannot exceed the limits. If the attempt succeeds, pass it to `succeed`; if the
        password cannot be checked, to `give_back`.
        """
        self._admitted_until.pop((address, name), None)
        return Attempt(address, name, is_known=self._run(self._attempt, address, name) >= 0)

    def succeed(self, attempt: Attempt) -> None:
        """The password was right: take the failure back, and remember that the name has logged in from there."""
        self.give_back(attempt)
        self._call(self._known, attempt.address, attempt.name, _MAX_KNOWN_ADDRESSES)

    def give_back(self, attempt: Attempt) -> None:
        """Take the failure back."""
        self._call(self._give_back, attempt.address, attempt.name, int(not attempt.is_known))

    def _run(self, script: Callable[..., list[int]], address: str, name: str) -> int:
        """Run `script`. Returns for how many seconds the name has been known at this address, -1 if it is not.

        Ends the request with a 429 if the name or the address has to wait.
        """
        name_wait_ms, address_wait_ms, known_s = self._call(script, address, name)
        if name_wait_ms:
            refuse(_NAME_WAITS, name_wait_ms / 1000)
        if address_wait_ms:
            refuse(_ADDRESS_WAITS, address_wait_ms / 1000)
        return known_s

    def _call(self, script: Callable[..., list[int]], address: str, name: str, *more: int) -> list[int]:
        # Hashed, because anybody chooses names, and people type passwords into the name field.
        failures = f"{self._root}:failed:{_hash(f'{address} {name}')}"
        keys = [
            failures,
            f"{failures}:wait",
            f"{self._root}:unknown:{_hash(address)}",
            f"{self._root}:known:{_hash(name)}",
        ]
        limits = [_FREE_FAILURES, _MAX_WAIT_S, _FAILURES_EXPIRE_S, _MAX_UNKNOWN, _UNKNOWN_BACK_MS, _KNOWN_S]
        return script(keys=keys, args=[_hash(address), *limits, *more])


class LocalAllowance:
    """Five uses at once, then one per second, counted by this process alone: for when Redis cannot count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at = 0.0

    def take(self) -> None:
        """Count a use, or end the request with a 429."""
        with self._lock:
            now = self._clock()
            full_at = max(now, self._full_at) + 1
            is_used_up = full_at - now > _FREE_FAILURES
            if not is_used_up:
                self._full_at = full_at
        if is_used_up:
            refuse("Redis does not answer, so credentials are checked once a second only; try again.", 1)


def refuse(detail: str, wait_s: float) -> NoReturn:
    """End the request with a 429."""
    abort(problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=ceil(wait_s)))


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
