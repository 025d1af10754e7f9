"""A key that all processes share: the first one that needs it generates it, and Redis keeps it.

    {name}    String  32 random bytes in hex

With read access to Redis one could use the key; what it protects says why that is enough. `replace` makes everything
invalid that was signed with it. Every process notices that within `KEPT_S`, as long as Redis answers.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import structlog
from redis import Redis, RedisError

log = structlog.get_logger()

KEPT_S = 2.0
"""How long a process uses the key without asking Redis again: it is replaced soon, and Redis is asked rarely."""

_KEY_BYTES = 32


class SharedKey:
    """The key called `name`, for many threads. While Redis does not answer, the last known key stays in use."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._name = name
        self._key = b""
        self._read_again_at = 0.0

    def __call__(self) -> bytes:
        """The key, which the first process that needs it generates. Raises `redis.RedisError` if it is not known."""
        if not self._key:  # each thread that needs it now has to wait for it
            self._key = self._stored()
        elif time.monotonic() >= self._read_again_at:
            self._read_again_at = time.monotonic() + KEPT_S  # before the answer, so that one thread waits and not all
            try:
                self._key = self._stored()
            except RedisError as error:
                log.warning("shared_key.not_read", key=self._name, error=str(error))
        return self._key

    def replace(self) -> None:
        """Generate another key, so that everything signed until now becomes invalid. May raise `redis.RedisError`."""
        self._client.set(self._name, secrets.token_hex(_KEY_BYTES))

    def _stored(self) -> bytes:
        stored: Any = self._client.get(self._name)
        if stored is None:
            self._client.set(self._name, secrets.token_hex(_KEY_BYTES), nx=True)
            stored = self._client.get(self._name)
        return bytes.fromhex(stored)
