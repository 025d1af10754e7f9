"""What the Redis in use promises to keep, told once in one line, so that nobody learns it from a loss.

A task is accepted when Redis says so. Whether Redis still knows of it after a crash, or once its memory is full, is a
matter of its configuration, which is not ours to change: `redis.durability` says what it is, as a warning when accepted
tasks may be lost. A managed Redis often tells nothing of its configuration; what it keeps is then for its provider to
say, and nothing is warned of that could not be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from redis import Redis, RedisError, ResponseError

from uvr.periodic import repeating
from uvr.redis.clients import RedisClients
from uvr.redis.requirements import info_of, server_name

log = structlog.get_logger()

_TRY_EVERY_S = 5.0
_NO_MIN_REPLICAS = "Redis 6.0 does not apply min-replicas-to-write to scripts, so to no task; Redis 6.2 and later do"


@dataclass(frozen=True)
class Durability:
    """How one server keeps what it holds; None for what it does not tell.

    `server` is its name and version. `appendfsync` is "off" without an append-only file. `evicts` names a policy by
    which a full server deletes tasks, "" when it deletes none. `min_replicas`: whether min-replicas-to-write is set.
    """

    server: str | None
    appendfsync: str | None
    evicts: str | None
    replicas: int
    min_replicas: bool

    def risks(self) -> list[str]:
        """In which way accepted tasks may be lost, and what to set against it."""
        found = []
        if self.evicts:
            found.append(f"maxmemory-policy {self.evicts} deletes tasks once memory is full; set noeviction")
        if self.appendfsync == "off":
            found.append("appendonly is off: a crash loses what was accepted since the last snapshot; set it to yes")
        elif self.appendfsync == "no":
            found.append("appendfsync is no: a power cut loses about the last 30 s; set always, or everysec for 1 s")
        if self.min_replicas and self.note():
            found.append(self.note())
        return found

    def note(self) -> str:
        """What this version does not give that later ones do; "" when it gives all."""
        return _NO_MIN_REPLICAS if (self.server or "").startswith("Redis 6.0.") else ""


def durability(server: Redis) -> Durability:
    """Read it. Raises `redis.RedisError` when the server is away."""
    told = info_of(server)
    policy, limited = told.get("maxmemory_policy"), told.get("maxmemory")
    return Durability(
        server=server_name(told) or None,
        appendfsync=_appendfsync(server),
        # The volatile-* policies delete what expires by itself, as no task does.
        evicts=None if policy is None else policy if limited and policy.startswith("allkeys-") else "",
        replicas=int(told.get("connected_slaves", 0)),
        min_replicas="min_slaves_good_slaves" in told,
    )


@contextmanager
def durability_logged(clients: RedisClients, key: str) -> Iterator[None]:
    """Tell it of the server that holds `key`, once that can be reached, within the block."""
    told = False

    def tell() -> None:
        nonlocal told
        told = told or log_durability(clients, key)

    with repeating(tell, _TRY_EVERY_S, name="durability", at_once=True):
        yield


def log_durability(clients: RedisClients, key: str) -> bool:
    """The line in the log; False, and none, while the server that holds `key` cannot be reached."""
    try:
        found = durability(clients.server_of(key))
    except RedisError as error:
        log.debug("redis.durability_unknown", error=str(error))
        return False
    facts: dict[str, Any] = {
        "server": found.server,
        "appendfsync": found.appendfsync,
        "evicts": found.evicts,
        "replicas": found.replicas,
    }
    if note := found.note():
        facts["note"] = note
    if risks := found.risks():
        log.warning("redis.durability", risks=risks, **facts)
    else:
        log.info("redis.durability", **facts)
    return True


def _appendfsync(server: Redis) -> str | None:
    try:
        told: Any = server.config_get("append*")  # before Redis 7 it took one pattern only
    except ResponseError:
        return None  # not allowed to ask, as usual with a managed Redis
    if "appendonly" not in told:
        return None
    return str(told.get("appendfsync")) if told["appendonly"] == "yes" else "off"
