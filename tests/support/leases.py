"""Claiming from a queue in tests, workers that die or fall silent, and what else becomes of an item."""

from __future__ import annotations

from redis import Redis

from redis_queue import Lease, RedisQueue


def claim(queue: RedisQueue, idle: str = "") -> Lease:
    """A claim that must find something."""
    lease = queue.claim(idle)
    assert lease is not None, "nothing to claim"
    return lease


def begin(queue: RedisQueue) -> Lease:
    """Claim and beat once, as a worker does before it sets to work."""
    lease = claim(queue)
    assert queue.extend(lease)
    return lease


def expire(queue: RedisQueue, client: Redis, lease: Lease) -> None:
    """Let a lease run out now, as it would for a worker that died."""
    client.zadd(f"{queue.name}:lease", {lease.id: 0})


def silence(queue: RedisQueue, client: Redis, seconds: float) -> None:
    """Make it look as if nobody had reaped for so long, because Redis or all workers were away."""
    now_s, now_us = client.time()
    client.set(f"{queue.name}:reaped", round((now_s - seconds) * 1000 + now_us / 1000))


def snapshot(client: Redis) -> dict[str, bytes | None]:
    """All that is stored."""
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
"""All that may become of an item that waits, before something else happens to it."""
