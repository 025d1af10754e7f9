"""What all processes have counted, in one hash in Redis, to which each adds its share every few seconds.

    R:metrics   Hash   each `uvr.metrics.definitions.Series` as a JSON list -> its sum over all processes; server: who
    counts

A sum never goes back a little: Prometheus would take that for a counter that began anew, and count all of it a second
time. It could happen when Redis loses its latest writes, at a restart or a fail-over; so whenever another server
answers than the one that has counted, all sums begin anew at 0 before anybody sees them.

What a process has counted while Redis is away it adds later; what it counted last before it is killed is lost.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
from redis import Redis, RedisError

from uvr.metrics.definitions import UNSENT, Series
from uvr.periodic import repeating
from uvr.redis.lua import allow_oom

log = structlog.get_logger()

EVERY_S = 5.0

# A full Redis is worth being measured, hence allow-oom; the hash holds a few hundred series and does not grow.
# KEYS: root. ARGV: 'read' or '', then pairs of a series and what to add.
_ADD_UP = allow_oom("""
local key = KEYS[1] .. ':metrics'
local info = redis.pcall('INFO', 'server') -- some hosts of Redis keep it from their customers
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or 'unknown'
if redis.call('HGET', key, 'server') ~= server then
  redis.call('DEL', key)
  redis.call('HSET', key, 'server', server)
end
for number = 2, #ARGV, 2 do redis.call('HINCRBYFLOAT', key, ARGV[number], ARGV[number + 1]) end
return ARGV[1] == 'read' and redis.call('HGETALL', key)
""")


class Totals:
    """The sums under `root`, the name of the records. Used by several threads."""

    def __init__(self, client: Redis, root: str) -> None:
        self._root = root
        self._add_up = client.register_script(_ADD_UP)

    def send(self) -> None:
        """Add what this process has counted. Raises `redis.RedisError`, after which it may be sent again.

        If it was the answer alone that got lost, this counts twice: better than not at all.
        """
        if unseen := UNSENT.take():
            self._run("", unseen)

    def read(self) -> dict[Series, float]:
        """The sums of all processes, with what this one has counted until now. Raises `redis.RedisError`."""
        found = self._run("read", UNSENT.take())
        pairs = zip(found[::2], found[1::2], strict=True)
        return {tuple(json.loads(series)): float(amount) for series, amount in pairs if series != "server"}

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send regularly until the block ends, and once more then."""
        try:
            with repeating(self._try_to_send, EVERY_S, name="metrics"):
                yield
        finally:
            self._try_to_send()

    def send_until_exit(self) -> None:
        """`kept` for as long as this process lives."""
        stack = ExitStack()
        stack.enter_context(self.sending())
        atexit.register(stack.close)

    def _try_to_send(self) -> None:
        try:
            self.send()
        except RedisError as error:
            log.debug("metrics.not_sent", error=str(error))

    def _run(self, what: str, amounts: dict[Series, float]) -> Any:
        pairs = [part for series, amount in amounts.items() for part in (json.dumps(series), repr(amount))]
        try:
            return self._add_up(keys=[self._root], args=[what, *pairs])
        except RedisError:
            UNSENT.add(amounts)
            raise
