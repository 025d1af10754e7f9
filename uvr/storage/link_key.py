"""The key that signs links to local stems.

    R:link_key    String  32 random bytes in hex

With read access to Redis one could sign links to any stem; one can read all tasks there anyway. `replace` makes all
links invalid, for example after one has leaked.
"""

from __future__ import annotations

from redis import Redis

from uvr.redis.shared_key import KEPT_S, SharedKey

__all__ = ["KEPT_S", "LinkKey"]


class LinkKey(SharedKey):
    """The key below `root`."""

    def __init__(self, client: Redis, root: str) -> None:
        super().__init__(client, f"{root}:link_key")
