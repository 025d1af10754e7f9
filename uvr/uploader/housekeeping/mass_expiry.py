"""Stops a round that would delete more than half of what is there: the clock, or a retention time, may be wrong.

Half of everything expires at once after a holiday as well, and when an operator shortens a retention time. So what has
expired when a round is stopped goes a day later, unless the clock jumps meanwhile, or as soon as the operator confirms
it. A few things are never worth stopping for. docs/decisions/0027-deletion-distrusts-clocks.md gives the reasons.

    R:retention   Hash   {kind}_held_since_ms   when a round was stopped that would have deleted so many of this kind
                         {kind}_held_before_ms  what ended before had expired at that time
                         {kind}_approved_ms     what ended before may be deleted, however much it is
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args

from redis import Redis

from uvr.redis import scripts
from uvr.timestamps import iso_time
from uvr.uploader.housekeeping.clock import ClockReading

Kind = Literal["tasks", "stems"]

_UNHELD = 10
"""So many things of a kind are deleted without question."""
_HELD_FOR_MS = 86_400_000


@dataclass(frozen=True)
class Cutoff:
    """A round deletes what ended before `before_ms`; `problem` is a sentence if that is less than has expired."""

    before_ms: int
    problem: str = ""


class MassExpiry:
    """What rounds were stopped for, and what was approved. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._root = root
        self._hold = scripts.register(client, "retention/hold")
        self._approve = scripts.register(client, "retention/approve")

    def cutoff(
        self, kind: Kind, before_ms: int, clock: ClockReading, *, total: int, expired: Callable[[int], Iterable[Any]]
    ) -> Cutoff:
        """What may be deleted of the `total` things of a kind, of which those that ended before `before_ms` expired.

        `expired(since_ms)` yields those of them that ended then or later.
        """
        state: Any = self._client.hgetall(f"{self._root}:retention")
        held_since_ms, approved_ms = (
            int(state.get(f"{kind}_{field}", 0)) for field in ("held_since_ms", "approved_ms")
        )
        if held_since_ms and clock.has_passed(held_since_ms, _HELD_FOR_MS):
            self._approve(keys=[self._root], args=[kind])
            approved_ms = int(state[f"{kind}_held_before_ms"])
        max_deleted = max(_UNHELD, total // 2)
        if sum(1 for _ in islice(expired(approved_ms), max_deleted + 1)) <= max_deleted:
            self._client.hdel(f"{self._root}:retention", f"{kind}_held_since_ms", f"{kind}_held_before_ms")
            return Cutoff(before_ms)
        held_since_ms = int(self._hold(keys=[self._root], args=[kind, before_ms]))
        return Cutoff(
            approved_ms,
            f"More than half of all {kind} have reached their maximum age at once, so they are kept until "
            f"{iso_time(held_since_ms + _HELD_FOR_MS)}: check the clock and the retention times. "
            "`python -m uvr retention confirm` deletes them earlier.",
        )

    def confirm(self) -> list[Kind]:
        """Approve everything that rounds were stopped for; returns its kinds."""
        return [kind for kind in get_args(Kind) if self._approve(keys=[self._root], args=[kind])]
