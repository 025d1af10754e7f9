"""Which workers are alive: each announces itself in Redis every few seconds, and /health reads who did.

Announcing is separate from leases on purpose: an idle worker holds none, and a busy one may be busy for an hour.

    R:workers            ZSet    "{kind}:{host}:{pid}" -> when it was last seen, s
    R:worker:{name}      String  what it says of itself, JSON; expires with it

`python -m uvr.presence KIND` exits 0 if a worker of that kind runs on this host: the containers' health check.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
from redis import Redis, RedisError

from config import Settings, load_settings
from uvr.background import repeating
from uvr.redis_clients import connect

log = structlog.get_logger()

EVERY_S = 4.0
FORGOTTEN_AFTER_S = 15


class Presence:
    """Announces this process as a worker of `kind`, with `facts` about itself (model, provider), until closed."""

    def __init__(self, client: Redis, root: str, kind: str, facts: Mapping[str, str]) -> None:
        self._client = client
        self._root = root
        self._name = f"{kind}:{socket.gethostname()}:{os.getpid()}"
        self._facts = json.dumps(dict(facts))

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Announce regularly until the block ends, then say goodbye."""
        announce = partial(self._try, self._announce)
        announce()
        try:
            with repeating(announce, EVERY_S, name="presence"):
                yield
        finally:
            self._try(self._say_goodbye)

    def _try(self, step: Any) -> None:
        try:
            step()
        except RedisError as error:
            log.debug("presence.not_announced", error=str(error))

    def _announce(self) -> None:
        seconds = _seconds(self._client)
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.zadd(f"{self._root}:workers", {self._name: seconds})
            pipeline.zremrangebyscore(f"{self._root}:workers", "-inf", seconds - 3600)
            pipeline.set(f"{self._root}:worker:{self._name}", self._facts, ex=FORGOTTEN_AFTER_S)
            pipeline.execute()

    def _say_goodbye(self) -> None:
        self._client.zrem(f"{self._root}:workers", self._name)
        self._client.delete(f"{self._root}:worker:{self._name}")


def present(client: Redis, root: str) -> dict[str, list[dict[str, str]]]:
    """The workers seen lately, by kind: `{"processor": [{"name": …, "model": …}], …}`."""
    seconds = _seconds(client)
    names: Any = client.zrange(f"{root}:workers", seconds - FORGOTTEN_AFTER_S, "+inf", byscore=True)
    found: dict[str, list[dict[str, str]]] = {}
    for name in names:
        facts: Any = client.get(f"{root}:worker:{name}")
        found.setdefault(name.partition(":")[0], []).append({"name": name, **json.loads(facts or "{}")})
    return found


def _seconds(client: Redis) -> int:
    time: Any = client.time()
    return int(time[0])


def _runs_here(settings: Settings, kind: str) -> bool:
    clients = connect(settings)
    try:
        workers = present(clients.commands, settings.redis_task_queue).get(kind, [])
    except RedisError:
        return False
    finally:
        clients.close()
    return any(worker["name"].startswith(f"{kind}:{socket.gethostname()}:") for worker in workers)


if __name__ == "__main__":
    sys.exit(0 if _runs_here(load_settings(), sys.argv[1]) else 1)
