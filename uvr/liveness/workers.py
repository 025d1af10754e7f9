"""Which workers are alive: each announces itself in Redis every few seconds, and /health reads who did.

Announcing is separate from leases on purpose: an idle worker holds none, and a busy one may be busy for an hour.

    R:workers            ZSet    "{kind}:{host}:{pid}" -> when it was last seen, s
    R:worker:{name}      String  what it says of itself, JSON; expires with it

`python -m uvr.liveness.workers KIND` exits 0 if a worker of that kind runs on this host: the containers' health check.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from redis import Redis, RedisError

from config import Settings, load_settings
from uvr.periodic import repeating
from uvr.redis.clients import connect
from uvr.redis.lua import allow_oom

log = structlog.get_logger()

EVERY_S = 4.0
FORGOTTEN_AFTER_S = 15
_ASK_EVERY_S = 2.0

# Workers of a full Redis are at work all the same, hence allow-oom.
# KEYS: root. ARGV: name, facts, s for which they hold.
_ANNOUNCE = allow_oom("""
local workers, seconds = KEYS[1] .. ':workers', redis.call('TIME')[1]
redis.call('ZADD', workers, seconds, ARGV[1])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', seconds - 3600)
redis.call('SET', KEYS[1] .. ':worker:' .. ARGV[1], ARGV[2], 'EX', ARGV[3])
""")


class WorkerPresence:
    """Announces this process as a worker of `kind`, with facts about itself (model, provider), until closed.

    `facts` is asked for them each time; an empty one is left out. A worker that has the fact `paused`, a sentence that
    says why, takes up nothing for now; an uploader stores nothing, but goes on with webhooks.
    """

    def __init__(self, client: Redis, root: str, kind: str, facts: Callable[[], Mapping[str, str]]) -> None:
        self._client = client
        self._root = root
        self.name = f"{kind}:{socket.gethostname()}:{os.getpid()}"
        """Told apart from all other workers."""
        self._facts = facts
        self._script = client.register_script(_ANNOUNCE)

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Announce regularly until the block ends, then say goodbye."""
        self.announce()
        try:
            with repeating(self.announce, EVERY_S, name="presence"):
                yield
        finally:
            self._try(self._say_goodbye)

    def announce(self) -> None:
        """Announce now, because a fact has changed. Never fails for an absent Redis."""
        self._try(self._announce)

    def _try(self, step: Any) -> None:
        try:
            step()
        except RedisError as error:
            log.debug("presence.not_announced", error=str(error))

    def _announce(self) -> None:
        facts = json.dumps({name: fact for name, fact in self._facts().items() if fact})
        self._script(keys=[self._root], args=[self.name, facts, FORGOTTEN_AFTER_S])

    def _say_goodbye(self) -> None:
        self._client.zrem(f"{self._root}:workers", self.name)
        self._client.delete(f"{self._root}:worker:{self.name}")


class UploaderWatch:
    """Those that store what the processors of `node` make."""

    def __init__(self, client: Redis, root: str, node: str) -> None:
        self._client = client
        self._root = root
        self._node = node
        self._asked_at = -math.inf
        self._reason = ""

    def why_paused(self) -> str:
        """Why none of them stores anything, "" when one does or none is known. Never fails for an absent Redis.

        Redis is asked every few seconds, and each time while no uploader is known: it may begin with a problem.
        """
        if time.monotonic() - self._asked_at > _ASK_EVERY_S:
            try:
                self._hear(live_workers(self._client, self._root).get("uploader", []))
            except RedisError as error:
                log.debug("presence.not_asked", error=str(error))
        return self._reason

    def _hear(self, uploaders: Sequence[Mapping[str, str]]) -> None:
        own = [facts.get("paused", "") for facts in uploaders if facts.get("node", "") == self._node]
        self._asked_at = time.monotonic() if own else -math.inf
        reason = " ".join(sorted(set(own))) if all(own) else ""
        if reason != self._reason:
            log.warning("processor.paused" if reason else "processor.goes_on", reason=reason)
        self._reason = reason


def live_workers(client: Redis, root: str) -> dict[str, list[dict[str, str]]]:
    """The workers seen lately, by kind: `{"processor": [{"name": …, "model": …}], …}`."""
    seconds = _seconds(client)
    names: Any = client.zrangebyscore(f"{root}:workers", seconds - FORGOTTEN_AFTER_S, "+inf")
    found: dict[str, list[dict[str, str]]] = {}
    for name in names:
        facts: Any = client.get(f"{root}:worker:{name}")
        found.setdefault(name.partition(":")[0], []).append({"name": name, **json.loads(facts or "{}")})
    return found


def _seconds(client: Redis) -> int:
    now: Any = client.time()
    return int(now[0])


def _runs_here(settings: Settings, kind: str) -> bool:
    clients = connect(settings)
    try:
        workers = live_workers(clients.commands, settings.redis_task_queue).get(kind, [])
    except RedisError:
        return False
    finally:
        clients.close()
    return any(worker["name"].startswith(f"{kind}:{socket.gethostname()}:") for worker in workers)


if __name__ == "__main__":
    sys.exit(0 if _runs_here(load_settings(), sys.argv[1]) else 1)
