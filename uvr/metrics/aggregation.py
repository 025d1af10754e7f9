"""The totals of all metrics over all processes, in a Redis hash to which each process adds every few seconds.

    R:metrics   Hash   each `uvr.metrics.definitions.Series` as a JSON list -> its total over all processes;
                       server: the id of the Redis server that counts

A total must never decrease a little: Prometheus would take that for a counter that restarted at 0, and count it all a
second time. It could happen when Redis loses its latest writes in a restart or a fail-over. So when another server
answers than the one that counted, all totals restart at 0 before anything reads them.

A process adds later what it counts while Redis is away. What it counted last before it is killed is lost.
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
from uvr.redis import scripts

log = structlog.get_logger()

EVERY_S = 5.0


class Totals:
    """The totals below `root`, the prefix of the keys. Several threads may use one object."""

    def __init__(self, client: Redis, root: str) -> None:
        self._root = root
        self._add_up = scripts.register(client, "metrics/add")

    def send(self) -> None:
        """Add the unsent sums of this process. After a `redis.RedisError` the next call sends them again.

        If only the response was lost they are counted twice, which is better than not at all.
        """
        if sums := UNSENT.take():
            self._run("", sums)

    def read(self) -> dict[Series, float]:
        """The totals over all processes, with the unsent sums of this one. Raises `redis.RedisError`."""
        found = self._run("read", UNSENT.take())
        pairs = zip(found[::2], found[1::2], strict=True)
        return {tuple(json.loads(series)): float(amount) for series, amount in pairs if series != "server"}

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send every few seconds until the block ends, and then once more."""
        try:
            with repeating(self.try_to_send, EVERY_S, name="metrics"):
                yield
        finally:
            self.try_to_send()

    def send_until_exit(self) -> None:
        """Like `sending`, until this process exits."""
        stack = ExitStack()
        stack.enter_context(self.sending())
        atexit.register(stack.close)

    def try_to_send(self) -> None:
        """Like `send`, but while Redis is down it leaves the sums for the next call."""
        try:
            self.send()
        except RedisError as error:
            log.debug("metrics.not_sent", error=str(error))

    def _run(self, command: str, amounts: dict[Series, float]) -> Any:
        pairs = [part for series, amount in amounts.items() for part in (json.dumps(series), repr(amount))]
        try:
            return self._add_up(keys=[self._root], args=[command, *pairs])
        except RedisError:
            UNSENT.add(amounts)
            raise
