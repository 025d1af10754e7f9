"""Logs once, at the start, how durable the Redis in use is, so that a loss of data comes as no surprise.

A task is accepted when Redis says so. Whether Redis still has it after a crash, or when its memory is full, depends on
the server's configuration, which the service does not change. The line `redis.durability` describes it, as a warning if
accepted tasks may be lost. Managed servers often do not show their configuration; then the line warns of nothing that
could not be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True)
class Durability:
    """How one server keeps what it holds; None for what it does not show."""

    server: str | None
    """Name and version."""
    appendfsync: str | None
    """"off" without an append-only file."""
    evicts: str | None
    """The policy by which a full server deletes tasks, "" when it deletes none."""
    replicas: int
    """How many are connected."""
    min_replicas: bool
    """Whether min-replicas-to-write is set."""
    saved_s: int | None = None
    """Seconds since the last snapshot, or since the start of a server that has made none."""
    writes_fail: bool | None = None
    """Whether the last snapshot or the last write to the append-only file failed."""

    def risks(self) -> list[str]:
        """How accepted tasks may be lost, and which setting prevents it."""
        risks = []
        if self.evicts:
            risks.append(f"maxmemory-policy {self.evicts} deletes tasks once memory is full; set noeviction")
        if self.appendfsync == "off":
            risks.append("appendonly is off: a crash loses what was accepted since the last snapshot; set it to yes")
        elif self.appendfsync == "no":
            risks.append("appendfsync is no: a power cut loses about the last 30 s; set always, or everysec for 1 s")
        if self.min_replicas and self.limitation():
            risks.append(self.limitation())
        return risks

    def limitation(self) -> str:
        """What this version lacks and later ones have, a sentence; "" for nothing."""
        if (self.server or "").startswith("Redis 6.0."):
            return "Redis 6.0 does not apply min-replicas-to-write to scripts, so to no task; Redis 6.2 and later do"
        return ""


def read_durability(server: Redis) -> Durability:
    """The durability of `server`. Raises `redis.RedisError` when it cannot be reached."""
    return durability_from(info_of(server), shown_config(server))


def shown_config(server: Redis) -> dict[str, str]:
    """The configuration of the append-only file; {} where it is not shown, as usual on a managed Redis."""
    try:
        config: Any = server.config_get("append*")  # before Redis 7 it took one pattern only
    except ResponseError:
        return {}
    return dict(config)


def durability_from(info: Mapping[str, Any], config: Mapping[str, str]) -> Durability:
    """The durability of the server with these answers to INFO and CONFIG GET."""
    policy, limited = info.get("maxmemory_policy"), info.get("maxmemory")
    appendfsync = None
    if "appendonly" in config:
        appendfsync = str(config.get("appendfsync")) if config["appendonly"] == "yes" else "off"
    written = [info[name] for name in ("rdb_last_bgsave_status", "aof_last_write_status") if name in info]
    saved_at, seconds = info.get("rdb_last_save_time"), info.get("server_time_usec", 0) // 10**6
    return Durability(
        server=server_name(info) or None,
        appendfsync=appendfsync,
        # The volatile-* policies delete only keys that expire; tasks do not.
        evicts=None if policy is None else policy if limited and policy.startswith("allkeys-") else "",
        replicas=int(info.get("connected_slaves", 0)),
        min_replicas="min_slaves_good_slaves" in info,
        saved_s=max(0, seconds - saved_at) if seconds and saved_at else None,
        writes_fail=any(status != "ok" for status in written) if written else None,
    )


@contextmanager
def durability_logged(clients: RedisClients, key: str) -> Iterator[None]:
    """Log the durability of the server that holds `key`, once that can be reached, until the block ends."""
    logged = False

    def try_to_log() -> None:
        nonlocal logged
        logged = logged or log_durability(clients, key)

    with repeating(try_to_log, _TRY_EVERY_S, name="durability", at_once=True):
        yield


def log_durability(clients: RedisClients, key: str) -> bool:
    """Write the line; False when the server that holds `key` cannot be reached."""
    try:
        durability = read_durability(clients.server_of(key))
    except RedisError as error:
        log.debug("redis.durability_unknown", error=str(error))
        return False
    facts: dict[str, Any] = {
        "server": durability.server,
        "appendfsync": durability.appendfsync,
        "evicts": durability.evicts,
        "replicas": durability.replicas,
    }
    if limitation := durability.limitation():
        facts["note"] = limitation
    if risks := durability.risks():
        log.warning("redis.durability", risks=risks, **facts)
    else:
        log.info("redis.durability", **facts)
    return True
