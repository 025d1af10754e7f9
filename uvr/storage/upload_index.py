"""The index of uploaded files, so that none is forgotten if a process dies.

A file is listed before its first byte is stored and until it is deleted. `RedisQueue.enqueue` creates the task's record
and assigns the file to it in one step. A file must be marked for deletion before it is deleted; after that no task can
be enqueued with it. So no record ever names a file that is being deleted.

    R:uploads         ZSet   key -> state: 0 = assigned to a record; > 0 = waits for its record since then, in ms;
                             -1 = to be deleted
    R:uploads:sizes   Hash   key -> "{bytes}:{owner}"
    R:uploads:bytes   Hash   owner -> the bytes of all files in the index
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis

from uvr.redis import scripts


def index_key(root: str) -> str:
    """The key of the index."""
    return f"{root}:uploads"


class UploadIndex:
    """The index below `root`. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._name = index_key(root)
        self._add = scripts.register(client, "uploads/add")
        self._remove = scripts.register(client, "uploads/remove")
        self._condemn = scripts.register(client, "uploads/condemn")

    def add(self, key: str, owner: str, size_bytes: int, max_bytes: int = 0) -> int:
        """List a file that is about to be stored; returns its state, or 0 when it is not listed.

        That is so when the files of `owner` would have more than `max_bytes`, 0 for any number; one file is always
        listed.
        """
        return int(self._add(keys=[self._name], args=[key, owner, size_bytes, max_bytes])[0])

    def bytes_of(self, owner: str) -> int:
        """The bytes of all files of `owner`."""
        stored: Any = self._client.hget(f"{self._name}:bytes", owner)
        return int(stored or 0)

    def all(self) -> Iterator[tuple[str, int]]:
        """Each key with its state."""
        found: Any = self._client.zscan_iter(self._name, count=1000)
        return ((key, int(state)) for key, state in found)

    def __contains__(self, key: str) -> bool:
        """Whether the file is listed."""
        return self._client.zscore(self._name, key) is not None

    def mark_for_deletion(self, key: str, state: int) -> bool:
        """Prevent that any task takes the file from now on; False if its state is no longer `state`."""
        return bool(self._condemn(keys=[self._name], args=[key, state]))

    def remove(self, key: str) -> None:
        """Remove a file that is deleted from the index."""
        self._remove(keys=[self._name], args=[key])

    def forget_removed(self) -> None:
        """No longer count the bytes of files that are not listed any more: an older version has removed them."""
        sizes: Any = self._client.hscan_iter(f"{self._name}:sizes", count=1000)
        for key, _size in sizes:
            if key not in self:
                self.remove(key)
