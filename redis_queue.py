"""A priority queue in Redis that loses nothing: at-least-once delivery by leases, every step one atomic script.

An item is an id. It waits in a sorted set, lowest score first, with the score `timestamp * (6 - priority)`: a strict
priority (a later 5 passes an earlier 4 for some 57 years), first in first out inside one. A worker claims the first
item under a lease, extends the lease while it works, and finishes, retries or buries the item. A worker that dies says
nothing; its lease expires and `reap` puts the item back where it was. Each claim raises the item's `attempt`, which is
also the fencing token: a worker whose lease was taken over changes nothing, because its attempt is out of date.

Beside an item there may be a record, a hash that tells the outside what became of it. Steps write it in the same
script that moves the item, so the two never disagree.

All times come from Redis TIME, never from a worker's clock. Redis 7 or Valkey is needed (script flags).

Keys of a queue named Q with records under R (`uvr_tasks` in both places by default):

    Q                 ZSet    waiting: member "{seq:016d}:{id}" -> score
    Q:seq             String  the last sequence number given out; orders equal scores
    Q:item:{id}       Hash    member, score, priority, attempt, failures, crashes; from enqueue until finish
    Q:lease           ZSet    id -> end of its lease, ms
    Q:delayed         ZSet    id -> when it is due, ms
    Q:dead            ZSet    id -> when it was buried, ms
    Q:wake            ZSet    at most one member: somebody waiting should look
    Q:foreign         ZSet    members found in Q that are no items, put aside: another program's, or evicted ones
    R:task:{id}       Hash    the record; has at least `status` and `created_ms`
    R:tasks           ZSet    all records by age: member "{created_ms}:{id}", equal scores
    R:tasks:{status}  ZSet    the same, by status

Scripts reach keys they build from the names given, so in a Redis Cluster Q and R must carry one hash tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.commands.core import Script

PRIORITIES = range(1, 6)

Record = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Lease:
    """The right to work on one item, until somebody else claims it: `attempt` is the fencing token.

    `failures` counts handled failures so far, `crashes` the workers that died over it; `attempt` also counts claims
    that were handed back, so it says nothing about how often the work went wrong.
    """

    id: str
    attempt: int
    priority: int
    failures: int
    crashes: int


@dataclass(frozen=True)
class Sizes:
    """How many items wait, are leased, delayed or dead; `by_priority` splits the waiting ones."""

    waiting: int
    leased: int
    delayed: int
    dead: int
    by_priority: dict[int, int]


_PRELUDE = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function item_key(queue, id) return queue .. ':item:' .. id end

local function record_key(records, id) return records .. ':task:' .. id end

local function wake(queue) redis.call('ZADD', queue .. ':wake', 0, 'wake') end

-- The attempt fences: after another claim the old worker's number no longer matches.
local function holds(queue, id, attempt)
  return redis.call('ZSCORE', queue .. ':lease', id)
     and redis.call('HGET', item_key(queue, id), 'attempt') == attempt
end

-- An item keeps its member and score for life: what comes back takes its old place, ahead of what came later.
local function put_back(queue, id)
  local place = redis.call('HMGET', item_key(queue, id), 'score', 'member')
  if not place[1] then return end -- evicted or deleted by hand: it must not keep the others from coming back
  redis.call('ZADD', queue, place[1], place[2])
  wake(queue)
end

local function add(queue, id, priority)
  if redis.call('EXISTS', item_key(queue, id)) == 1 then return false end
  local member = string.format('%016d:%s', redis.call('INCR', queue .. ':seq'), id)
  local score = redis.call('TIME')[1] * (6 - priority)
  redis.call('HSET', item_key(queue, id), 'member', member, 'score', score, 'priority', priority,
             'attempt', 0, 'failures', 0, 'crashes', 0)
  put_back(queue, id)
  return true
end

-- A new round through a queue replaces the dead letter an earlier round may have left there.
local function hand_over(queue, id, priority)
  if redis.call('ZREM', queue .. ':dead', id) == 1 then redis.call('DEL', item_key(queue, id)) end
  add(queue, id, priority)
end

local function set_record(records, id, first)
  local key = record_key(records, id)
  local before = redis.call('HGET', key, 'status')
  redis.call('HSET', key, unpack(ARGV, first))
  local record = redis.call('HMGET', key, 'status', 'created_ms')
  local status, member = record[1], record[2] .. ':' .. id
  if before ~= status then
    if before then redis.call('ZREM', records .. ':tasks:' .. before, member) end
    redis.call('ZADD', records .. ':tasks', 0, member)
    redis.call('ZADD', records .. ':tasks:' .. status, 0, member)
  end
end

-- A record that was deleted meanwhile is not brought back to life by the worker that still held the item.
local function update_record(records, id, first)
  if first <= #ARGV and redis.call('EXISTS', record_key(records, id)) == 1 then set_record(records, id, first) end
end
"""

# What follows the shebang is run as one step. `allow-oom` marks the scripts that free memory or keep work alive: a full
# Redis must still be able to take an acknowledgement, or it could never become less full.
_STRICT, _ALLOW_OOM, _READS = "#!lua", "#!lua flags=allow-oom", "#!lua flags=no-writes"

# KEYS: queue, records. ARGV: id, priority, record…
_ENQUEUE = """
if redis.call('EXISTS', record_key(KEYS[2], ARGV[1])) == 1 then return 0 end
if not add(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
if #ARGV > 2 then set_record(KEYS[2], ARGV[1], 3) end
return 1
"""

# KEYS: queue. ARGV: lease ms, longest wait s (0: none). Gives {id, attempt, priority, failures, crashes} or nil.
_CLAIM = """
local queue, now = KEYS[1], now_ms()

for _, id in ipairs(redis.call('ZRANGE', queue .. ':delayed', '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', queue .. ':delayed', id)
  put_back(queue, id)
end

-- Scores of priority p lie in (seconds * (5 - p), seconds * (6 - p)], so the oldest of each is the first of its range.
local function overdue(longest_wait)
  if longest_wait == 0 then return nil end
  local seconds = math.floor(now / 1000)
  local oldest, oldest_at = nil, seconds - longest_wait
  for priority = 1, 5 do
    local weight = 6 - priority
    local first = redis.call('ZRANGE', queue, '(' .. seconds * (weight - 1), seconds * weight,
                             'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if first[1] and first[2] / weight <= oldest_at then oldest, oldest_at = first[1], first[2] / weight end
  end
  return oldest
end

local function next_item()
  while true do
    local member = overdue(tonumber(ARGV[2])) or redis.call('ZRANGE', queue, 0, 0)[1]
    if not member then return nil end
    local id, score = string.sub(member, 18), redis.call('ZSCORE', queue, member)
    redis.call('ZREM', queue, member)
    if redis.call('EXISTS', item_key(queue, id)) == 1 then return id end
    redis.call('ZADD', queue .. ':foreign', score, member)
  end
end

local id = next_item()
if not id then return nil end
redis.call('ZADD', queue .. ':lease', now + ARGV[1], id)
local attempt = redis.call('HINCRBY', item_key(queue, id), 'attempt', 1)
-- One wake-up is taken by one worker; while items are left the next one must not sleep.
if redis.call('EXISTS', queue) == 1 then wake(queue) end
local item = redis.call('HMGET', item_key(queue, id), 'priority', 'failures', 'crashes')
return {id, attempt, item[1], item[2], item[3]}
"""

# KEYS: queue, records. ARGV: id, attempt, lease ms, record…
_EXTEND = """
if not holds(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1] .. ':lease', now_ms() + ARGV[3], ARGV[1])
update_record(KEYS[2], ARGV[1], 4)
return 1
"""

# KEYS: queue, records, next queue or the queue itself for none. ARGV: id, attempt, record…
_FINISH = """
local id = ARGV[1]
if not holds(KEYS[1], id, ARGV[2]) then return 0 end
local priority = redis.call('HGET', item_key(KEYS[1], id), 'priority')
redis.call('ZREM', KEYS[1] .. ':lease', id)
redis.call('DEL', item_key(KEYS[1], id))
update_record(KEYS[2], id, 3)
if KEYS[3] ~= KEYS[1] then hand_over(KEYS[3], id, priority) end
return 1
"""

# KEYS: queue, records. ARGV: id, attempt, delay ms, what to count ('failures', 'crashes' or ''), record…
_RETRY = """
local id = ARGV[1]
if not holds(KEYS[1], id, ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[1] .. ':lease', id)
if ARGV[4] ~= '' then redis.call('HINCRBY', item_key(KEYS[1], id), ARGV[4], 1) end
if tonumber(ARGV[3]) > 0 then
  redis.call('ZADD', KEYS[1] .. ':delayed', now_ms() + ARGV[3], id)
else
  put_back(KEYS[1], id)
end
update_record(KEYS[2], id, 5)
return 1
"""

# KEYS: queue, records, next queue or the queue itself for none. ARGV: id, attempt, record…
_BURY = """
local id = ARGV[1]
if not holds(KEYS[1], id, ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[1] .. ':lease', id)
redis.call('ZADD', KEYS[1] .. ':dead', now_ms(), id)
update_record(KEYS[2], id, 3)
if KEYS[3] ~= KEYS[1] then hand_over(KEYS[3], id, redis.call('HGET', item_key(KEYS[1], id), 'priority')) end
return 1
"""

# KEYS: queue, records. ARGV: id, record…
_REVIVE = """
if redis.call('ZREM', KEYS[1] .. ':dead', ARGV[1]) == 0 then return 0 end
redis.call('HSET', item_key(KEYS[1], ARGV[1]), 'failures', 0, 'crashes', 0)
put_back(KEYS[1], ARGV[1])
update_record(KEYS[2], ARGV[1], 2)
return 1
"""

# KEYS: queue. ARGV: id
_DROP = """
if redis.call('ZREM', KEYS[1] .. ':dead', ARGV[1]) == 0 then return 0 end
return redis.call('DEL', item_key(KEYS[1], ARGV[1]))
"""

# KEYS: queue, records. ARGV: how many at most, record…
_REAP = """
local expired = redis.call('ZRANGE', KEYS[1] .. ':lease', '-inf', now_ms(), 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, id in ipairs(expired) do
  redis.call('ZREM', KEYS[1] .. ':lease', id)
  redis.call('HINCRBY', item_key(KEYS[1], id), 'crashes', 1)
  put_back(KEYS[1], id)
  update_record(KEYS[2], id, 2)
end
return expired
"""

# KEYS: queue. Gives waiting, leased, delayed, dead, then the waiting ones of priority 1 to 5.
_SIZES = """
local queue, seconds = KEYS[1], redis.call('TIME')[1]
local sizes = {redis.call('ZCARD', queue), redis.call('ZCARD', queue .. ':lease'),
               redis.call('ZCARD', queue .. ':delayed'), redis.call('ZCARD', queue .. ':dead')}
for weight = 5, 1, -1 do
  sizes[#sizes + 1] = redis.call('ZCOUNT', queue, '(' .. seconds * (weight - 1), seconds * weight)
end
return sizes
"""


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
        self._enqueue = self._script(_STRICT, _ENQUEUE)
        self._claim = self._script(_STRICT, _CLAIM)
        self._extend = self._script(_ALLOW_OOM, _EXTEND)
        self._finish = self._script(_ALLOW_OOM, _FINISH)
        self._retry = self._script(_ALLOW_OOM, _RETRY)
        self._bury = self._script(_ALLOW_OOM, _BURY)
        self._revive = self._script(_STRICT, _REVIVE)
        self._drop = self._script(_ALLOW_OOM, _DROP)
        self._reap = self._script(_ALLOW_OOM, _REAP)
        self._sizes = self._script(_READS, _SIZES)

    def enqueue(self, item_id: str, priority: int, record: Record | None = None) -> bool:
        """Add an item and create its record; False and no change when the item or its record is there already."""
        if priority not in PRIORITIES:
            raise ValueError(f"priority must be 1 to 5, not {priority}")
        return self._run(self._enqueue, [item_id, priority, *_pairs(record)])

    def claim(self) -> Lease | None:
        """Lease the first waiting item, delayed ones that are due included; None when there is none."""
        found = self._claim(keys=[self.name], args=[self.lease_ms, self._max_wait_s])
        return Lease(found[0], *map(int, found[1:])) if found else None

    def wait(self, timeout_s: float) -> None:
        """Block until an item may be waiting, at most `timeout_s`; then call `claim` again."""
        self._blocking.bzpopmin(f"{self.name}:wake", timeout=timeout_s)

    def extend(self, lease: Lease, record: Record | None = None) -> bool:
        """Heartbeat: the lease runs anew from now, and the record tells how far the work is; False if it is lost."""
        return self._run(self._extend, [lease.id, lease.attempt, self.lease_ms, *_pairs(record)])

    def finish(self, lease: Lease, *, next_queue: RedisQueue | None = None, record: Record | None = None) -> bool:
        """Acknowledge; with `next_queue` the item goes on there, in the same step. False if the lease is lost."""
        return self._run(self._finish, [lease.id, lease.attempt, *_pairs(record)], next_queue)

    def retry(self, lease: Lease, *, delay_s: float, counts_as: str = "failures", record: Record | None = None) -> bool:
        """Put the item back after a handled failure, at its old place once `delay_s` has passed. False if lost.

        `counts_as` is "failures", "crashes", or "" for an item that is handed back through no fault of its own.
        """
        return self._run(self._retry, [lease.id, lease.attempt, round(delay_s * 1000), counts_as, *_pairs(record)])

    def release(self, lease: Lease, record: Record | None = None) -> bool:
        """Hand the item back at once and uncounted, because this worker stops. False if the lease is lost."""
        return self.retry(lease, delay_s=0, counts_as="", record=record)

    def bury(self, lease: Lease, *, next_queue: RedisQueue | None = None, record: Record | None = None) -> bool:
        """Move the item to the dead letters, and on to `next_queue` to tell about it. False if the lease is lost."""
        return self._run(self._bury, [lease.id, lease.attempt, *_pairs(record)], next_queue)

    def revive(self, item_id: str, record: Record | None = None) -> bool:
        """Bring a dead letter back to its old place, its counts at nought; False if it is none."""
        return self._run(self._revive, [item_id, *_pairs(record)])

    def drop(self, item_id: str) -> bool:
        """Forget a dead letter; False if it is none."""
        return self._run(self._drop, [item_id])

    def reap(self, record: Record | None = None, limit: int = 100) -> list[str]:
        """Put items with expired leases back and count a crash for each; gives their ids."""
        expired: list[str] = self._reap(keys=[self.name, self._records], args=[limit, *_pairs(record)])
        return expired

    def sizes(self) -> Sizes:
        """The queue's sizes at one moment."""
        waiting, leased, delayed, dead, *split = map(int, self._sizes(keys=[self.name]))
        return Sizes(waiting, leased, delayed, dead, dict(zip(PRIORITIES, split, strict=True)))

    def peek(self, count: int = 10) -> list[str]:
        """The ids that would be claimed next, first first."""
        members: Any = self._client.zrange(self.name, 0, count - 1)
        return [member.partition(":")[2] for member in members]

    def dead(self, count: int = 100) -> list[str]:
        """The ids of dead letters, latest first."""
        ids: Any = self._client.zrange(f"{self.name}:dead", 0, count - 1, desc=True)
        return list(ids)

    def position(self, item_id: str) -> int | None:
        """How many waiting items go before this one; None when it does not wait."""
        member = self._client.hget(f"{self.name}:item:{item_id}", "member")
        rank: Any = None if member is None else self._client.zrank(self.name, member)
        return rank if rank is None else int(rank)

    def _script(self, shebang: str, body: str) -> Script:
        return self._client.register_script(f"{shebang}\n{_PRELUDE}{body}")

    def _run(self, script: Script, args: Sequence[Any], next_queue: RedisQueue | None = None) -> bool:
        keys = [self.name, self._records, (next_queue or self).name]
        return bool(script(keys=keys, args=args))


def _pairs(record: Record | None) -> list[Any]:
    return [part for pair in (record or {}).items() for part in pair]
