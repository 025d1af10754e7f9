"""Claims and leases in tests: workers that die or stop reaping, and everything else that can happen to an item."""

from __future__ import annotations

from redis import Redis

from redis_queue import Lease, RedisQueue


def claim(queue: RedisQueue, idle: str = "") -> Lease:
    """Claim an item, which must be there."""
    lease = queue.claim(idle)
    assert lease is not None, "nothing to claim"
    return lease


def begin(queue: RedisQueue) -> Lease:
    """Claim an item and send one heartbeat, as a worker does before it starts to work."""
    lease = claim(queue)
    assert queue.extend(lease)
    return lease


def expire(queue: RedisQueue, client: Redis, lease: Lease) -> None:
    """Let a lease expire now, as if its worker had died."""
    client.zadd(f"{queue.name}:lease", {lease.id: 0})


def silence(queue: RedisQueue, client: Redis, seconds: float) -> None:
    """Make it look as if no worker had reaped for so long, because Redis or all workers were down."""
    now_s, now_us = client.time()
    client.set(f"{queue.name}:reaped", round((now_s - seconds) * 1000 + now_us / 1000))


def snapshot(client: Redis) -> dict[str, bytes | None]:
    """Everything in this Redis, by key."""
    return {key: client.execute_command("DUMP", key, NEVER_DECODE=True) for key in sorted(client.keys())}


def stay_waiting(queue: RedisQueue) -> None:
    """Leave the item as it is."""


def become_leased(queue: RedisQueue) -> None:
    begin(queue)


def become_delayed(queue: RedisQueue) -> None:
    queue.retry(begin(queue), delay_s=3600)


def become_dead(queue: RedisQueue) -> None:
    queue.bury(begin(queue))


CHANGES = (stay_waiting, become_leased, become_delayed, become_dead)
"""Everything that can happen to a waiting item."""
