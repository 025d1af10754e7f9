"""Claiming from a queue in tests, and workers that die or fall silent."""

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
