"""The index of stems that may still appear in the storage after their task was deleted, so that none stays there.

A request that stores a stem cannot be taken back. An uploader that learns afterwards that the task is gone deletes its
stems itself. If it dies before that, nothing else names them, so the deletion of the task lists them first.
Housekeeping deletes listed stems in every round for a day, after which no such request is still on its way.

    R:strays   ZSet   key of a stem -> when its task was deleted, ms
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from redis import Redis

from uvr.redis import scripts


class StrayStems:
    """The index below `root`. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._name = f"{root}:strays"
        self._add = scripts.register(client, "strays/add")

    def add(self, keys: Iterable[str]) -> None:
        """List the stems of a task that is being deleted."""
        if stems := list(keys):
            self._add(keys=[self._name], args=stems)

    def all(self) -> Iterator[tuple[str, int]]:
        """Each key, with the time in ms since 1970 at which its task was deleted."""
        found: Any = self._client.zscan_iter(self._name, count=1000)
        return ((key, int(deleted_ms)) for key, deleted_ms in found)

    def remove(self, keys: Iterable[str]) -> None:
        """These stems are deleted, and no uploader stores them any more."""
        if stems := list(keys):
            self._client.zrem(self._name, *stems)
