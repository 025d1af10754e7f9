"""A priority queue in Redis that loses nothing: at-least-once delivery by leases, every step one atomic script.

An item is an id. It waits in a sorted set, lowest score first, with the score `timestamp * (6 - priority)`: a strict
priority (a later 5 passes an earlier 4 for some 57 years), first in first out inside one. A worker claims the first
item under a lease, extends the lease while it works, and finishes, retries or buries the item. A worker that dies says
nothing; its lease expires and `reap` puts the item back where it was. Each claim draws a `fence`, a number that no
other claim of the queue ever has: a worker whose lease was taken over changes nothing, its fence is out of date.

Beside an item there may be a record, a hash that tells the outside what became of it. Steps write it in the same
script that moves the item, so the two never disagree.

All times come from Redis TIME, never from a worker's clock. Redis 6.0 or later, or Valkey, is needed.

Keys of a queue named Q with records under R (`uvr_tasks` in both places by default):

    Q                 ZSet    waiting: member "{seq:016d}:{id}" -> score
    Q:seq             String  the last sequence number given out; orders equal scores
    Q:item:{id}       Hash    from enqueue until finish: member, score, priority, attempt, failures, crashes, and of the
                              latest claim: fence, begun (its lease was extended), graced (its lease had its grace)
    Q:fence           String  the last fence given out: the time in ms, or one more than the one before
    Q:lease           ZSet    id -> end of its lease, ms
    Q:delayed         ZSet    id -> when it is due, ms
    Q:dead            ZSet    id -> when it was buried, ms
    Q:wake            ZSet    at most one member: somebody waiting should look
    Q:idle            ZSet    workers that found nothing to do -> when they last looked, ms
    Q:reaped          String  when `reap` last ran, ms
    Q:foreign         ZSet    members found in Q that are no items, put aside: another program's, or evicted ones
    R:task:{id}       Hash    the record; has at least `status` and `created_ms`
    R:tasks           ZSet    all records by age: member "{created_ms}:{id}", equal scores
    R:tasks:{status}  ZSet    the same, by status
    R:deleted         ZSet    id of a record that somebody wanted gone -> when it went, ms; kept for two days
    R:owner:{owner}, R:owner:{owner}:{status}
                      ZSet    the same, of records with a field `owner`, which has no colon in it

    R:asked:{name}    Hash    of a request that counts once: id, and `for`, what it asked for; expires
    R:uploads         ZSet    files that clients sent along -> 0 once a record has it, else since when it waits for its
                              record, ms, or -1 once nobody may take it any more (uvr/storage/upload_index.py)

Scripts reach keys they build from the names given, so in a Redis Cluster Q and R must carry one hash tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.commands.core import Script

from uvr.errors import DuplicateRequestError, LimitExceededError, TransientError
from uvr.redis import scripts

PRIORITIES = range(1, 6)

Record = Mapping[str, str | int | float]

_IDLE_MS = 5_000
"""How long a worker counts as idle after it looked in vain; longer than its pause between two looks."""


@dataclass(frozen=True)
class Lease:
    """The right to work on one item, until somebody else claims it.

    `fence` tells this claim from every other one of the queue, and grows. `failures` counts handled failures so far,
    `crashes` the workers that died over it; `attempt` counts all claims, those that were handed back too, so it says
    nothing about how often the work went wrong. `score` is the item's place in the queue.
    """

    id: str
    attempt: int
    priority: int
    failures: int
    crashes: int
    fence: int
    score: float


@dataclass(frozen=True)
class Once:
    """That a request counts once: `name` tells it from all others, `asks_for` says what for, as a hash does."""

    name: str
    asks_for: str
    remembered_ms: int


@dataclass(frozen=True)
class DeadLetter:
    """An item that was given up at `buried_ms`, after that many handled failures and crashes."""

    id: str
    buried_ms: int
    failures: int
    crashes: int


@dataclass(frozen=True)
class Sizes:
    """How many items wait, are leased, delayed or dead.

    `by_priority` splits the waiting ones, and `oldest_s` says for how many seconds the first of each has waited.
    """

    waiting: int
    leased: int
    delayed: int
    dead: int
    by_priority: dict[int, int]
    oldest_s: dict[int, int]


class RedisQueue:
    """One queue. Every method is one round trip and may raise `redis.RedisError`; none leaves a step half done.

    `client` must decode responses and must not retry by itself: a claim whose answer was lost is found again by
    `reap`, while a claim sent twice would lease two items. `blocking_client` is used by `wait` alone; its socket
    time-out must exceed the wait. `records` is the name the records stand under, by default the queue's own.
    """

    def __init__(
        self,
        client: Redis,
        name: str,
        *,
        records: str | None = None,
        blocking_client: Redis | None = None,
        lease_ms: int = 60_000,
        max_wait_s: int = 0,
    ) -> None:
        self.name = name
        self.lease_ms = lease_ms
        self._client = client
        self._blocking = blocking_client or client
        self._records = records or name
        self._max_wait_s = max_wait_s
        self._enqueue = client.register_script(scripts.ENQUEUE)
        self._claim = client.register_script(scripts.CLAIM)
        self._extend = client.register_script(scripts.EXTEND)
        self._overtaken = client.register_script(scripts.OVERTAKEN)
        self._holder = client.register_script(scripts.HOLDER)
        self._position = client.register_script(scripts.POSITION)
        self._finish = client.register_script(scripts.FINISH)
        self._retry = client.register_script(scripts.RETRY)
        self._bury = client.register_script(scripts.BURY)
        self._revive = client.register_script(scripts.REVIVE)
        self._renew = client.register_script(scripts.RENEW)
        self._cancel = client.register_script(scripts.CANCEL)
        self._drop = client.register_script(scripts.DROP)
        self._forget = client.register_script(scripts.FORGET)
        self._annotate = client.register_script(scripts.ANNOTATE)
        self._letters = client.register_script(scripts.LETTERS)
        self._reap = client.register_script(scripts.REAP)
        self._evacuate = client.register_script(scripts.EVACUATE)
        self._due_in = client.register_script(scripts.DUE_IN)
        self._sizes = client.register_script(scripts.SIZES)

    def enqueue(
        self,
        item_id: str,
        priority: int,
        record: Record | None = None,
        *,
        at_most: int = 0,
        once: Once | None = None,
        upload: str = "",
    ) -> bool:
        """Add an item and create its record; False and no change when the item or its record is there already.

        Changes nothing and raises `DuplicateRequestError` when the request `once` came before, `LimitExceededError`
        when the owner that `record` names has `at_most` records of its status already (0: any number), and
        `TransientError` when `upload` is not in the list of uploads any more; else the list says that it has its record
        now.
        """
        if priority not in PRIORITIES:
            raise ValueError(f"priority must be 1 to 5, not {priority}")
        crowd = f"{self._records}:owner:{record['owner']}:{record['status']}" if record and at_most else self.name
        request = [once.name, once.asks_for, once.remembered_ms] if once else ["", "", 0]
        args = [item_id, priority, at_most, *request, upload, *_pairs(record)]
        added = self._enqueue(keys=[self.name, self._records, crowd], args=args)
        if added is None:
            raise LimitExceededError(
                f"You have {at_most} tasks waiting already, as many as you may; wait for some to begin."
            )
        if isinstance(added, list):
            earlier, its_priority, is_the_same = added
            raise DuplicateRequestError(earlier, int(its_priority), is_same_request=bool(is_the_same))
        if added < 0:
            raise TransientError("Storing the upload took too long; send it again.")
        return bool(added)

    def claim(self, idle: str = "") -> Lease | None:
        """Lease the first waiting item, delayed ones that are due included; None when there is none.

        `idle` names a worker that has nothing else to do: while it finds nothing, others can tell by `overtaken`.
        """
        found = self._claim(keys=[self.name], args=[self.lease_ms, self._max_wait_s, idle, _IDLE_MS])
        if not found:
            return None
        item_id, attempt, priority, failures, crashes, fence, score = found
        return Lease(item_id, int(attempt), int(priority), int(failures), int(crashes), int(fence), float(score))

    def wait(self, timeout_s: float) -> None:
        """Block until an item may be waiting or a delayed one is due, at most `timeout_s`; then call `claim` again."""
        due_ms = self._due_in(keys=[self.name])
        longest_s = timeout_s if due_ms is None else min(timeout_s, int(due_ms) / 1000)
        if longest_s > 0:  # for Redis 0 is for ever
            self._blocking.bzpopmin(f"{self.name}:wake", timeout=longest_s)

    def extend(self, lease: Lease, record: Record | None = None) -> bool:
        """Heartbeat: the lease runs anew from now, and the record tells how far the work is; False if it is lost."""
        return self._run(self._extend, [lease.id, lease.fence, self.lease_ms, *_pairs(record)])

    def overtaken(self, lease: Lease, own: str = "") -> bool:
        """Whether work on a leased item that has not begun would better be left to somebody else, by `release`.

        So it is when an item waits that would be claimed before it, when the lease is lost, and, if `own` names this
        worker, when another one is idle and would take it at once.
        """
        return self._run(self._overtaken, [lease.id, lease.fence, self._max_wait_s, own, _IDLE_MS])

    def holder(self, item_id: str) -> int | None:
        """The fence of the lease on an item, also of an expired one until it is reaped; None when nobody holds it."""
        fence = self._holder(keys=[self.name], args=[item_id])
        return fence if fence is None else int(fence)

    def finish(self, lease: Lease, *, next_queue: RedisQueue | None = None, record: Record | None = None) -> bool:
        """Acknowledge; with `next_queue` the item goes on there, in the same step. False if the lease is lost.

        An item of this id that is still in `next_queue` starts anew there, even if it is leased.
        """
        return self._run(self._finish, [lease.id, lease.fence, *_pairs(record)], next_queue)

    def retry(self, lease: Lease, *, delay_s: float, counts_as: str = "failures", record: Record | None = None) -> bool:
        """Put the item back after a handled failure, at its old place once `delay_s` has passed. False if lost.

        `counts_as` is "failures", "crashes", or "" for an item that is handed back through no fault of its own.
        """
        return self._run(self._retry, [lease.id, lease.fence, round(delay_s * 1000), counts_as, *_pairs(record)])

    def release(self, lease: Lease, record: Record | None = None) -> bool:
        """Hand the item back at once and uncounted, because this worker stops. False if the lease is lost."""
        return self.retry(lease, delay_s=0, counts_as="", record=record)

    def bury(self, lease: Lease, *, next_queue: RedisQueue | None = None, record: Record | None = None) -> bool:
        """Move the item to the dead letters, and on to `next_queue` to tell about it. False if the lease is lost."""
        return self._run(self._bury, [lease.id, lease.fence, *_pairs(record)], next_queue)

    def revive(self, item_id: str, record: Record | None = None) -> bool:
        """Bring a dead letter back to its old place, its counts at nought; False if it is none."""
        return self._run(self._revive, [item_id, *_pairs(record)])

    def renew(self, item_id: str, priority: int, record: Record | None = None, *, statuses: Iterable[str] = ()) -> bool:
        """Add an item once more whose record is there already, in place of one that is delayed or dead.

        False, and no change, when it waits or is leased, so that it comes anyway, or when there is no such record, or
        one whose status is none of `statuses`, if any are given.
        """
        return self._run(self._renew, [item_id, priority, ",".join(statuses), *_pairs(record)])

    def cancel(
        self, item_id: str, others: Iterable[RedisQueue], statuses: Iterable[str], record: Record | None = None
    ) -> bool:
        """Take an item out of this queue and of `others`, wherever it is in them; whoever works on it loses it.

        False, and no change, when its record has none of `statuses`.
        """
        keys = [self.name, self._records, *(queue.name for queue in others)]
        return bool(self._cancel(keys=keys, args=[item_id, ",".join(statuses), *_pairs(record)]))

    def drop(self, item_id: str) -> bool:
        """Forget a dead letter; False if it is none."""
        return self._run(self._drop, [item_id])

    def forget(
        self, item_id: str, others: Iterable[RedisQueue], statuses: Iterable[str], *, wanted: bool = False
    ) -> bool:
        """Delete a record that has one of `statuses`, and the dead letters of its item in this queue and in `others`.

        False, and no change, when the record has another status, or the item is live in one of the queues. `wanted`
        means that somebody wants it gone: then live items go as well, and the id is remembered for two days.
        """
        keys = [self.name, self._records, *(queue.name for queue in others)]
        return bool(self._forget(keys=keys, args=[item_id, ",".join(statuses), int(wanted)]))

    def annotate(self, item_id: str, record: Record) -> bool:
        """Write into a record whatever becomes of its item; False, and no change, when there is no such record."""
        return self._run(self._annotate, [item_id, *_pairs(record)])

    def knows(self, item_id: str) -> bool:
        """Whether the item is in this queue: waiting, leased, delayed or dead."""
        return bool(self._client.exists(f"{self.name}:item:{item_id}"))

    def reap(self, record: Record | None = None) -> list[str]:
        """Put items with expired leases back and count a crash for each on which work had begun; gives their ids.

        When nobody has reaped for half a lease, which means that Redis or all workers were away or busy, expired leases
        first get a grace of a third, in which a holder that is still alive can beat. To be called more often than that.
        """
        expired: list[str] = self._reap(keys=[self.name, self._records], args=[self.lease_ms, *_pairs(record)])
        return expired

    def evacuate(self, to: RedisQueue, record: Record | None = None, limit: int = 100) -> list[str]:
        """Move items, all but the dead ones, to the end of another queue, whoever works on them loses them.

        They keep their order and priority, and start anew there. Gives the ids of those moved, at most `limit`; [] once
        the queue is empty.
        """
        keys = [self.name, self._records, to.name]
        moved: list[str] = self._evacuate(keys=keys, args=[limit, *_pairs(record)])
        return moved

    def sizes(self) -> Sizes:
        """The queue's sizes at one moment."""
        waiting, leased, delayed, dead, *split = map(int, self._sizes(keys=[self.name]))
        count = len(PRIORITIES)
        by_priority = dict(zip(PRIORITIES, split[:count], strict=True))
        oldest_s = dict(zip(PRIORITIES, split[count:], strict=True))
        return Sizes(waiting, leased, delayed, dead, by_priority, oldest_s)

    def peek(self, count: int = 10) -> list[str]:
        """The ids that would be claimed next, first first."""
        members: Any = self._client.zrange(self.name, 0, count - 1)
        return [member.partition(":")[2] for member in members]

    def dead(self, count: int = 100) -> list[str]:
        """The ids of dead letters, latest first."""
        ids: Any = self._client.zrange(f"{self.name}:dead", 0, count - 1, desc=True)
        return list(ids)

    def letters(self, start: int = 0, count: int = 100) -> list[DeadLetter]:
        """Dead letters, latest first, after the `start` latest ones."""
        found = self._letters(keys=[self.name], args=[start, start + count - 1])
        return [DeadLetter(letter[0], *map(int, letter[1:])) for letter in found]

    def position(self, item_id: str) -> int | None:
        """How many waiting items go before this one; None when it does not wait."""
        rank = self._position(keys=[self.name], args=[item_id])
        return rank if rank is None else int(rank)

    def _run(self, script: Script, args: Sequence[Any], next_queue: RedisQueue | None = None) -> bool:
        keys = [self.name, self._records, (next_queue or self).name]
        return bool(script(keys=keys, args=args))


def _pairs(record: Record | None) -> list[Any]:
    return [part for pair in (record or {}).items() for part in pair]
