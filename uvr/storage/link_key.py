"""The key that signs links to local stems: made once, kept in Redis, so that all processes sign alike unconfigured.

    R:link_key    String  32 random bytes in hex

Whoever reads it could make links to stems, as whoever reads Redis knows their tasks anyway.
"""

from __future__ import annotations

import secrets
from typing import Any

from redis import Redis

_KEY_BYTES = 32


def link_key(client: Redis, root: str) -> bytes:
    """The key below `root`, made by the first process that asks for it. Raises `redis.RedisError`."""
    name = f"{root}:link_key"
    stored: Any = client.get(name)
    if stored is None:
        client.set(name, secrets.token_hex(_KEY_BYTES), nx=True)
        stored = client.get(name)
    return bytes.fromhex(stored)
