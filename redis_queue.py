"""A priority queue in Redis that loses nothing: at-least-once delivery by leases, each step one atomic script.

An item is an id. It waits in a sorted set with the score `timestamp * (6 - priority)`, lowest first: a strict priority
(a later 5 passes an earlier 4 for some 57 years), first in first out inside one. Within a priority, first tries go
before retries, and the owners of items take turns. Within a limit, a worker gets items of the models that it has loaded
first. uvr/redis/lua/queue/order.lua has the whole order. A worker claims the first item under a lease, extends the
lease while it works (heartbeat), and finishes, retries or buries the item. When a worker dies, its lease expires, and
`reap` puts the item back. Each claim draws a `fence`, a number that no other claim of the queue ever has. A worker that
lost its lease changes nothing, because its fence is out of date.

An item may have a record, a hash that shows its state to everyone else. A step writes the record in the same script
that moves the item, so the two never disagree.

All times come from Redis TIME, never from a worker's clock. Needs Redis 6.0 or later, or Valkey.

Keys of a queue named Q with records under the root R (`uvr_tasks` in both places by default):

    Q                 ZSet    waiting: member "{seq:016d}:{id}" -> score
    Q:seq             String  the last sequence number given out; orders equal scores
    Q:item:{id}       Hash    from enqueue until finish: member, score, priority, owner, attempt, failures, crashes, the
                              line that it stands in or stood in last, and of the latest claim: fence, turn, begun (its
                              lease was extended), graced (its lease got its grace)
    Q:line:{class}:{owner}
                      ZSet    the items of an owner and a class that wait: member -> score (order.lua explains it)
    Q:jumps:{class}:{owner}
                      ZSet    items of loaded models that went before the head of the line: member -> score
    Q:turns           ZSet    the lines -> class and turn, the order in which they are served
    Q:turn            String  the last turn given out
    Q:ages            ZSet    the lines -> since when their first item waits, s
    Q:running:{owner} ZSet    the leased items of an owner, as far as `max_running` limits them -> when claimed, ms
    Q:fence           String  the last fence given out: the time in ms, or the one before plus 1
    Q:lease           ZSet    id -> end of its lease, ms
    Q:delayed         ZSet    id -> when it is due, ms
    Q:dead            ZSet    id -> when it was buried, ms
    Q:wake            ZSet    at most one member: wakes a worker that waits for an item
    Q:idle            ZSet    workers that found no item -> when they last tried a claim, ms
    Q:reaped          String  when `reap` last ran, ms
    Q:silent          String  when `reap` last ran after a long pause, ms
    Q:swept           String  how far `reap` has looked for items without a line
    Q:foreign         ZSet    members found in Q that are no items, moved out of the way: written by another program, or
                              left over when Redis evicted the item
    R:task:{id}       Hash    the record; has at least `status` and `created_ms`
    R:tasks           ZSet    all records by age: member "{created_ms}:{id}", equal scores
    R:tasks:{status}  ZSet    the same, by status
    R:owner:{owner}, R:owner:{owner}:{status}
                      ZSet    the same, of records with a field `owner`, which contains no colon
    R:batch:{batch}   ZSet    the same, of records with a field `batch`: those that one request has made
    R:deleted         ZSet    id of a record that was deleted on request -> when, ms; kept for two days
    R:asked:{name}    Hash    a request that counts once: id, and `for`, what it asked for; of one that made several
                              items the first id, and `batch`; expires

Scripts build further keys from the names that they get, so in a Redis Cluster Q and R must carry the same hash tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from uvr.redis import scripts

PRIORITIES = range(1, 6)

Record = Mapping[str, str | int | float]

NOW = "now"
"""In a record: the time of Redis, in ms since 1970, at which the step is taken. For fields that end in `_ms` only."""

_PAGE = 100
"""How many items a script touches at most; PAGE in order.lua."""

_IDLE_MS = 5_000
"""How long a worker counts as idle after a claim that found nothing; longer than its pause between two claims."""

_LIMITED = -1


@dataclass(frozen=True)
class Lease:
    """The right to work on one item, until the lease expires or is taken away."""

    id: str
    attempt: int
    """Number of claims so far, including this one and released ones; not a count of failures."""
    priority: int
    failures: int
    """Handled failures so far."""
    crashes: int
    """Workers that died while they held the item."""
    fence: int
    """A number that no other claim of the queue has; it grows from claim to claim."""
    score: float
    """The item's place in the queue."""
    models: str = ""
    """The text of the record's field `models`; "" if there is none, or the queue prefers no models."""


@dataclass(frozen=True)
class IdempotencyKey:
    """A request that counts once. The record of its item must have the field `priority`."""

    name: str
    """Unique to the request."""
    asks_for: str
    """What it asks for, such as a hash of its content."""
    remembered_ms: int


@dataclass(frozen=True)
class Limit:
    """Refuses an item while the sorted set `key` has `max_members` or more."""

    key: str
    max_members: int


class LimitReachedError(Exception):
    """An item was not brought back, because a `Limit` is reached."""


@dataclass(frozen=True)
class NewItem:
    """An item to add, and its record."""

    id: str
    priority: int
    record: Record


@dataclass(frozen=True)
class Attachment:
    """Something that an item comes with: a member of the sorted set `index`.

    An item whose attachment is missing there, or has a negative score, is refused. Otherwise the score becomes 0.
    """

    index: str
    name: str


@dataclass(frozen=True)
class EnqueueResult:
    """What became of an item; only "accepted" has changed anything."""

    outcome: Literal["accepted", "exists", "limited", "detached", "repeated"]
    """Why it was refused: the item or its record exists already, the limit is reached, the attachment is gone, or the
    request came before."""
    earlier_id: str = ""
    """For "repeated": the item that the request made the first time, or the batch of a batch."""
    earlier_priority: int = 0
    asks_for_the_same: bool = True
    """False when the request has the name of an earlier one and asks for something else."""

    @property
    def accepted(self) -> bool:
        """Whether the item was added."""
        return self.outcome == "accepted"


@dataclass(frozen=True)
class DeadLetter:
    """An item that was given up at `buried_ms`, after so many handled failures and crashes."""

    id: str
    buried_ms: int
    failures: int
    crashes: int


@dataclass(frozen=True)
class Sizes:
    """How many items wait, are leased, delayed or dead."""

    waiting: int
    leased: int
    delayed: int
    dead: int
    by_priority: dict[int, int]
    """The waiting items of each priority."""
    oldest_s: dict[int, int]
    """For how many seconds the first item of each priority has waited; 0 when none waits."""


class RedisQueue:
    """One queue. Every method may raise `redis.RedisError`, and none leaves a step half done.

    A method is one round trip, but `reap` and `evacuate` take several if there is much to do: no script touches more
    than a hundred items, because Redis serves no other client meanwhile.

    `client` must decode responses and must not retry by itself: `reap` finds a claim whose answer was lost, while a
    claim sent twice would lease two items. `blocking_client` serves `wait` only; its socket timeout must exceed the
    wait. `root` is the prefix of the records' keys, by default the queue's name. `max_wait_s` is the time after which
    an item goes before all priorities, 0 for never. An owner of items holds at most `max_running` leases at once, 0 for
    any number. At most `max_overtakes` items, of the same owner and priority, go before another one because their
    models are loaded; 100 is the highest limit.
    """

    def __init__(
        self,
        client: Redis,
        name: str,
        *,
        root: str | None = None,
        blocking_client: Redis | None = None,
        lease_ms: int = 60_000,
        max_wait_s: int = 0,
        max_running: int = 0,
        max_overtakes: int = 0,
    ) -> None:
        self.name = name
        self.lease_ms = lease_ms
        self._client = client
        self._blocking = blocking_client or client
        self.root = root or name
        self._max_wait_s = max_wait_s
        self._max_running = max_running
        self._max_overtakes = max_overtakes
        self._scripts = scripts.register_folder(client, "queue")

    def enqueue(
        self,
        item_id: str,
        priority: int,
        record: Record | None = None,
        *,
        limit: Limit | None = None,
        idempotency_key: IdempotencyKey | None = None,
        attachment: Attachment | None = None,
    ) -> EnqueueResult:
        """Add an item and create its record. If it is refused, nothing changes, and the result says why."""
        if priority not in PRIORITIES:
            raise ValueError(f"priority must be 1 to 5, not {priority}")
        limit = limit or Limit(self.name, 0)
        request = idempotency_key or IdempotencyKey("", "", 0)
        attachment = attachment or Attachment(self.name, "")
        args: list[Any] = [item_id, priority, limit.max_members]
        args += [request.name, request.asks_for, request.remembered_ms]
        args += [attachment.name, *_pairs(record)]
        keys = [self.name, self.root, limit.key, attachment.index]
        return _enqueue_result(*self._scripts["enqueue"](keys=keys, args=args))

    def enqueue_batch(
        self,
        batch: str,
        items: Sequence[NewItem],
        *,
        limit: Limit | None = None,
        idempotency_key: IdempotencyKey | None = None,
    ) -> EnqueueResult:
        """Add 1 to 100 items, whose records have `batch` in a field of that name; all of them, or none.

        They are added in their order.
        """
        if not 0 < len(items) <= _PAGE:
            raise ValueError(f"a batch has 1 to {_PAGE} items, not {len(items)}")
        limit = limit or Limit(self.name, 0)
        request = idempotency_key or IdempotencyKey("", "", 0)
        args: list[Any] = [batch, limit.max_members, request.name, request.asks_for, request.remembered_ms]
        for item in items:
            pairs = _pairs(item.record)
            args += [item.id, item.priority, len(pairs), *pairs]
        return _enqueue_result(*self._scripts["enqueue_batch"](keys=[self.name, self.root, limit.key], args=args))

    def earlier(self, request: IdempotencyKey) -> EnqueueResult | None:
        """What adding the items of a request again would be answered, if it came before; None if it did not."""
        found = self._scripts["earlier"](keys=[self.name, self.root], args=[request.name, request.asks_for])
        return _enqueue_result(*found) if found else None

    def reprioritize(self, item_id: str, priority: int, record: Record | None = None) -> bool:
        """Give a waiting or delayed item another priority, and the place that it would have had with that one.

        False and no change when it is leased, dead or gone.
        """
        return self._run("reprioritize", [item_id, priority, *_pairs(record)])

    def claim(self, idle: str = "", loaded: Sequence[str] = ()) -> Lease | None:
        """Lease the first waiting item, including delayed ones that are due; None when there is none that may run.

        `idle` names a worker that has nothing else to do. While it finds nothing, `overtaken` reports it to others.
        `loaded` has the values of the records' field `models` that cost this worker no loading, "" for a missing field;
        with none, or with all that wait, items keep their order.
        """
        args: list[Any] = [self.lease_ms, self._max_wait_s, self._max_running, idle, _IDLE_MS]
        args += [self._max_overtakes, *loaded]
        found = self._scripts["claim"](keys=[self.name, self.root], args=args)
        if not found:
            return None
        item_id, models, attempt, priority, failures, crashes, fence, score = found
        return Lease(
            item_id, int(attempt), int(priority), int(failures), int(crashes), int(fence), float(score), models
        )

    def wait(self, timeout_s: float) -> None:
        """Block until an item may be waiting or a delayed one is due, at most `timeout_s`; then call `claim` again."""
        due_ms = self._scripts["due_in"](keys=[self.name])
        if due_ms is not None:
            timeout_s = min(timeout_s, int(due_ms) / 1000)
        if timeout_s > 0:  # for Redis 0 means for ever
            self._blocking.bzpopmin(f"{self.name}:wake", timeout=timeout_s)

    def extend(self, lease: Lease, record: Record | None = None) -> bool:
        """Heartbeat: the lease starts again from now, and the record shows the progress; False if the lease is lost."""
        return self._run("extend", [lease.id, lease.fence, self.lease_ms, *_pairs(record)])

    def overtaken(self, lease: Lease, own: str = "") -> bool:
        """Whether a leased item whose work has not begun should go back by `release`.

        That is so when another item would be claimed before it, when the lease is lost, and, if `own` names this
        worker, when another worker is idle and would take the item at once.
        """
        return self._run("overtaken", [lease.id, lease.fence, self._max_wait_s, self._max_running, own, _IDLE_MS])

    def holder(self, item_id: str) -> int | None:
        """The fence of the lease on an item, also of an expired one until it is reaped; None when there is no lease."""
        fence = self._scripts["holder"](keys=[self.name], args=[item_id])
        return fence if fence is None else int(fence)

    def finish(self, lease: Lease, *, next_queue: RedisQueue | None = None, record: Record | None = None) -> bool:
        """Acknowledge; with `next_queue` the item goes on there, in the same step. False if the lease is lost.

        If the item is still in `next_queue`, even leased, it starts again there.
        """
        return self._run("finish", [lease.id, lease.fence, *_pairs(record)], next_queue)

    def retry(self, lease: Lease, *, delay_s: float, counts_as: str = "failures", record: Record | None = None) -> bool:
        """Put the item back after a handled failure, once `delay_s` has passed. False if lost.

        `counts_as` is "failures", "crashes", or "" for an item that goes back through no fault of its own. One that
        counts goes behind all first tries of its priority.
        """
        args = [lease.id, lease.fence, round(delay_s * 1000), counts_as, *_pairs(record)]
        return self._run("retry", args)

    def release(self, lease: Lease, record: Record | None = None) -> bool:
        """Put the item back at once, uncounted and at its old place. False if the lease is lost."""
        return self.retry(lease, delay_s=0, counts_as="", record=record)

    def bury(self, lease: Lease, *, next_queue: RedisQueue | None = None, record: Record | None = None) -> bool:
        """Move the item to the dead letters and add it to `next_queue`, if there is one. False if the lease is lost."""
        return self._run("bury", [lease.id, lease.fence, *_pairs(record)], next_queue)

    def revive(self, item_id: str, record: Record | None = None, *, limit: Limit | None = None) -> bool:
        """Bring a dead letter back as if it were added now, with its counters at 0; False if it is none.

        Only the number of its claims goes on. Raises `LimitReachedError` and changes nothing when the limit is reached.
        """
        return self._bring_back("revive", [item_id], limit, record)

    def renew(
        self,
        item_id: str,
        priority: int,
        record: Record | None = None,
        *,
        statuses: Iterable[str] = (),
        limit: Limit | None = None,
    ) -> bool:
        """Add an item again whose record exists, in place of one that is delayed or dead.

        False and no change when it waits or is leased, so that it comes anyway; when there is no such record; and when
        the record has none of `statuses`, if any are given. Raises `LimitReachedError` and changes nothing when the
        limit is reached.
        """
        return self._bring_back("renew", [item_id, priority, ",".join(statuses)], limit, record)

    def cancel(
        self, item_id: str, others: Iterable[RedisQueue], statuses: Iterable[str], record: Record | None = None
    ) -> bool:
        """Remove an item from this queue and from `others`; a worker that holds it loses its lease.

        False and no change when its record has none of `statuses`.
        """
        keys = [self.name, self.root, *(queue.name for queue in others)]
        return bool(self._scripts["cancel"](keys=keys, args=[item_id, ",".join(statuses), *_pairs(record)]))

    def drop(self, item_id: str) -> bool:
        """Remove a dead letter; False if it is none."""
        return self._run("drop", [item_id])

    def forget(
        self, item_id: str, others: Iterable[RedisQueue], statuses: Iterable[str], *, on_request: bool = False
    ) -> bool:
        """Delete a record that has one of `statuses`, and its item's dead letters in this queue and in `others`.

        False and no change when the record has another status, or the item is live in one of the queues. `on_request`
        removes live items as well, and remembers for two days that the id was deleted.
        """
        keys = [self.name, self.root, *(queue.name for queue in others)]
        return bool(self._scripts["forget"](keys=keys, args=[item_id, ",".join(statuses), int(on_request)]))

    def annotate(self, item_id: str, record: Record) -> bool:
        """Write into a record, whatever state its item is in; False and no change when there is no such record."""
        return self._run("annotate", [item_id, *_pairs(record)])

    def contains(self, item_id: str) -> bool:
        """Whether the item is in this queue: waiting, leased, delayed or dead."""
        return bool(self._client.exists(f"{self.name}:item:{item_id}"))

    def reap(self, record: Record | None = None) -> list[str]:
        """Put items with expired leases back and count a crash for each on which work had begun; returns their ids.

        Call it more often than every half lease. When no call came for that long, Redis or all workers were away or
        busy: then expired leases first get a grace of a third of a lease, in which a living worker can extend its own.
        """
        expired: list[str] = []
        looked_at = _PAGE
        while looked_at == _PAGE:
            args = [self.lease_ms, *_pairs(record)]
            looked_at, *ids = self._scripts["reap"](keys=[self.name, self.root], args=args)
            expired += ids
        return expired

    def evacuate(self, to: RedisQueue, record: Record | None = None, limit: int = _PAGE) -> list[str]:
        """Move items, all but the dead ones, to the end of another queue; workers that hold one lose their lease.

        Items keep their priority and the order of their scores, and start again there. Returns the ids of those moved,
        at most `limit`; [] once the queue is empty.
        """
        keys = [self.name, self.root, to.name]
        touched, moved = limit, list[str]()
        while touched and not moved:
            touched, *moved = self._scripts["evacuate"](keys=keys, args=[limit, *_pairs(record)])
        return moved

    def sizes(self) -> Sizes:
        """The queue's sizes at one moment."""
        waiting, leased, delayed, dead, *split = map(int, self._scripts["sizes"](keys=[self.name]))
        count = len(PRIORITIES)
        by_priority = dict(zip(PRIORITIES, split[:count], strict=True))
        oldest_s = dict(zip(PRIORITIES, split[count:], strict=True))
        return Sizes(waiting, leased, delayed, dead, by_priority, oldest_s)

    def dead_letters(self, start: int = 0, count: int = 100) -> list[DeadLetter]:
        """Dead letters, newest first, after the `start` newest ones."""
        found = self._scripts["dead_letters"](keys=[self.name], args=[start, start + count - 1])
        return [DeadLetter(letter[0], *map(int, letter[1:])) for letter in found]

    def position(self, item_id: str) -> int | None:
        """How many waiting items go before this one; None when it does not wait.

        Does not count the effects of `max_wait_s`, `max_running` and loaded models. An estimate while items of more
        than a hundred owners with its priority wait.
        """
        return self.positions([item_id])[0]

    def positions(self, item_ids: Sequence[str]) -> list[int | None]:
        """The `position` of each of these items, in one step of Redis: ask for few at a time."""
        ranks = self._scripts["positions"](keys=[self.name], args=list(item_ids))
        return [rank if rank is None else int(rank) for rank in ranks]

    def _bring_back(self, step: str, args: Sequence[Any], limit: Limit | None, record: Record | None) -> bool:
        limit = limit or Limit(self.name, 0)
        keys = [self.name, self.root, limit.key]
        outcome = int(self._scripts[step](keys=keys, args=[limit.max_members, *args, *_pairs(record)]))
        if outcome == _LIMITED:
            raise LimitReachedError
        return bool(outcome)

    def _run(self, step: str, args: Sequence[Any], next_queue: RedisQueue | None = None) -> bool:
        keys = [self.name, self.root, (next_queue or self).name]
        return bool(self._scripts[step](keys=keys, args=args))


def _enqueue_result(
    outcome: Any, item_id: str = "", priority: str = "", batch: str = "", is_the_same: int = 1
) -> EnqueueResult:
    """The answer of a script."""
    return EnqueueResult(outcome, batch or item_id, int(priority or 0), bool(is_the_same))


def _pairs(record: Record | None) -> list[Any]:
    return [part for pair in (record or {}).items() for part in pair]
