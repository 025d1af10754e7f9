"""Waits until a node that is about to stop has no stems left that only its uploader can store.

Stems are on the disk of the node that made them. If its uploader stops while some wait there, other nodes separate
their songs again, after NODE_TIMEOUT_SECONDS. So where processor and uploader are told to stop at the same time, as in
a pod, the uploader runs this first: it waits for the end of the processor, and then until the result queue is empty.

`python -m uvr.liveness.drain SECONDS` exits with 0 once nothing is left, and with 1 and a sentence on stderr if that
takes longer than SECONDS.
"""

from __future__ import annotations

import socket
import sys
import time

from redis import RedisError

from config import Settings, load_settings
from uvr.liveness.workers import EVERY_S, live_workers
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker

_LOOK_EVERY_S = 0.5
_QUIET_S = EVERY_S + 1
"""How long nothing may be left before that is believed: a processor that Redis has not heard announces itself again."""


def what_is_left(broker: Broker) -> str:
    """A sentence about what the uploader of this node has to wait for; "" if there is nothing. Raises `RedisError`."""
    processors = live_workers(broker.client, broker.root).get("processor", [])
    if any(worker["name"].split(":")[1] == socket.gethostname() for worker in processors):
        return "The processor of this node still works."
    results = broker.results.sizes()
    left = results.waiting + results.leased + results.delayed
    return f"Results whose stems are not stored yet: {left}." if left else ""


def drain(settings: Settings, timeout_s: float) -> str:
    """Wait until nothing is left; returns "", or after `timeout_s` what is left."""
    clients = connect(settings)
    broker = Broker(settings, clients)
    deadline = time.monotonic() + timeout_s
    quiet_since: float | None = None
    try:
        while True:
            try:
                left = what_is_left(broker)
            except RedisError as error:
                left = f"Redis does not answer, so it is not known what is left: {error}"
            now = time.monotonic()
            quiet_since = None if left else quiet_since or now
            if quiet_since is not None and now - quiet_since >= _QUIET_S:
                return ""
            if now >= deadline:
                return left
            time.sleep(_LOOK_EVERY_S)
    finally:
        clients.close()


if __name__ == "__main__":
    if left := drain(load_settings(), float(sys.argv[1])):
        sys.exit(left)
