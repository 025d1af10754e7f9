"""Which workers are alive: each process announces itself in Redis every few seconds, and /health lists them.

Announcements are separate from leases: an idle worker holds no lease, and a busy one may be busy for an hour.

    R:workers            ZSet    "{kind}:{host}:{pid}" -> its last announcement, s
    R:worker:{name}      String  the worker's facts about itself, JSON; expires with it

`python -m uvr.liveness.workers KIND`, the containers' health check, exits with 0 if a worker of that kind runs on this
host, and with 1 if not. With `--unless-redis-is-away` it also exits with 0 while Redis does not answer: that is for
supervisors that restart what is unhealthy, because a restart would not bring Redis back.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from redis import Redis, RedisError

from config import Settings, load_settings
from uvr.periodic import repeating
from uvr.redis import scripts
from uvr.redis.clients import connect

log = structlog.get_logger()

EVERY_S = 4.0
FORGOTTEN_AFTER_S = 15
_ASK_EVERY_S = 2.0


class WorkerPresence:
    """Announces this process as a worker of `kind`, with facts about itself such as its model.

    `facts` is called for each announcement; empty facts are left out. A worker with the fact `paused`, a sentence that
    says why, claims nothing for now; an uploader stores nothing, but still delivers webhooks. A worker with the fact
    `idle`, another sentence, has tasks and cannot work on them yet.
    """

    def __init__(self, client: Redis, root: str, kind: str, facts: Callable[[], Mapping[str, str]]) -> None:
        self._client = client
        self._root = root
        self.name = f"{kind}:{socket.gethostname()}:{os.getpid()}"
        """Unique among all workers."""
        self._facts = facts
        self._script = scripts.register(client, "workers/announce")

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Announce regularly until the block ends, then withdraw the announcement."""
        self.announce()
        try:
            with repeating(self.announce, EVERY_S, name="presence"):
                yield
        finally:
            with _errors_logged():
                self._client.zrem(f"{self._root}:workers", self.name)
                self._client.delete(f"{self._root}:worker:{self.name}")

    def announce(self) -> None:
        """Announce now, because a fact has changed. Does not raise when Redis is down."""
        with _errors_logged():
            facts = json.dumps({name: fact for name, fact in self._facts().items() if fact})
            self._script(keys=[self._root], args=[self.name, facts, FORGOTTEN_AFTER_S])


@contextmanager
def _errors_logged() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        log.debug("presence.not_announced", error=str(error))


class UploaderWatch:
    """Watches the uploaders of `node`, which store what its processors make."""

    def __init__(self, client: Redis, root: str, node: str) -> None:
        self._client = client
        self._root = root
        self._node = node
        self._asked_at = -math.inf
        self._reason = ""

    def why_paused(self) -> str:
        """Why none of them stores anything; "" when one does, or none is known. Does not raise when Redis is down.

        Asks Redis every few seconds, and on each call while no uploader is known: a new one may start with a problem.
        """
        if time.monotonic() - self._asked_at <= _ASK_EVERY_S:
            return self._reason
        try:
            uploaders = live_workers(self._client, self._root).get("uploader", [])
        except RedisError as error:
            log.debug("presence.not_asked", error=str(error))
            return self._reason
        reasons = [facts.get("paused", "") for facts in uploaders if facts.get("node", "") == self._node]
        self._asked_at = time.monotonic() if reasons else -math.inf
        reason = " ".join(sorted(set(reasons))) if all(reasons) else ""
        if reason != self._reason:
            log.warning("processor.paused" if reason else "processor.goes_on", reason=reason)
        self._reason = reason
        return reason


def loaded_models(facts: Mapping[str, str]) -> list[str]:
    """The models that a processor with these facts has loaded."""
    return [name for name in facts.get("loaded", "").split(", ") if name]


def live_workers(client: Redis, root: str) -> dict[str, list[dict[str, str]]]:
    """The workers that announced themselves lately, by kind: `{"processor": [{"name": …, "model": …}], …}`."""
    now: Any = client.time()
    names: Any = client.zrangebyscore(f"{root}:workers", int(now[0]) - FORGOTTEN_AFTER_S, "+inf")
    found: dict[str, list[dict[str, str]]] = {}
    for name in names:
        facts: Any = client.get(f"{root}:worker:{name}")
        found.setdefault(name.partition(":")[0], []).append({"name": name, **json.loads(facts or "{}")})
    return found


def runs_on_this_host(settings: Settings, kind: str, *, while_redis_is_away: bool = False) -> bool:
    """Whether a worker of `kind` on this host announced itself lately; `while_redis_is_away` if that is not known."""
    clients = connect(settings)
    try:
        workers = live_workers(clients.commands, settings.redis_task_queue).get(kind, [])
    except RedisError:
        return while_redis_is_away
    finally:
        clients.close()
    return any(worker["name"].startswith(f"{kind}:{socket.gethostname()}:") for worker in workers)


if __name__ == "__main__":
    _is_alive = runs_on_this_host(
        load_settings(), sys.argv[1], while_redis_is_away="--unless-redis-is-away" in sys.argv[2:]
    )
    sys.exit(0 if _is_alive else 1)
