"""Helpers for queue tests: claims, workers that die or fall silent, and every state of an item."""

from __future__ import annotations

from redis import Redis

from redis_queue import Lease, RedisQueue


def claim(queue: RedisQueue, idle: str = "") -> Lease:
    """A claim that must find an item."""
    lease = queue.claim(idle)
    assert lease is not None, "nothing to claim"
    return lease


def begin(queue: RedisQueue) -> Lease:
    """Claim and send one heartbeat, as a worker does before it begins."""
    lease = claim(queue)
    assert queue.extend(lease)
    return lease


def waiting_ids(queue: RedisQueue, count: int = 10) -> list[str]:
    """The ids that would be claimed next, in their order."""
    members = queue._client.zrange(queue.name, 0, count - 1)
    return [member.partition(":")[2] for member in members]


def dead_ids(queue: RedisQueue) -> list[str]:
    """The ids of dead letters, newest first."""
    return [letter.id for letter in queue.dead_letters()]


def expire(queue: RedisQueue, client: Redis, lease: Lease) -> None:
    """Let a lease expire now, as for a worker that died."""
    client.zadd(f"{queue.name}:lease", {lease.id: 0})


def make_older(queue: RedisQueue, item_id: str, seconds: int) -> None:
    """Make a waiting item this much older, everywhere."""
    client, name = queue._client, queue.name
    member, line, priority = client.hmget(f"{name}:item:{item_id}", "member", "line", "priority")
    weight = 6 - int(priority)
    client.hincrby(f"{name}:item:{item_id}", "score", -seconds * weight)
    client.zincrby(name, -seconds * weight, member)
    client.zincrby(f"{name}:line:{line}", -seconds * weight, member)
    [(_, oldest)] = client.zrange(f"{name}:line:{line}", 0, 0, withscores=True)
    client.zadd(f"{name}:ages", {line: oldest / weight})


def silence(queue: RedisQueue, client: Redis, seconds: float) -> None:
    """Pretend that no worker has reaped for `seconds`, because Redis or all workers were down."""
    now_s, now_us = client.time()
    client.set(f"{queue.name}:reaped", round((now_s - seconds) * 1000 + now_us / 1000))


def snapshot(client: Redis) -> dict[str, bytes | None]:
    """Everything that is stored."""
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
"""Every state that a waiting item may change to, before the step under test."""
