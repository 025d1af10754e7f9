"""Songs that were separated lately: the same bytes, model and format need not be separated again.

What is the same is told by a fingerprint, of the bytes of the song and not of where they came from. The stems are
copied under the keys of the new task, so that each task has its own and may be deleted without the other. Nothing is
remembered while CACHE_TTL_HOURS is 0, its default.

    R:made:{fingerprint}   String  the id of the task that made the stems last; expires
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from redis import Redis


class ResultCache:
    """What is remembered below `root`, each for `ttl_s`, 0 being nothing. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str, ttl_s: float) -> None:
        self._client = client
        self._root = root
        self._ttl_ms = round(ttl_s * 1000)

    def fingerprint(self, song: Path, *options: str) -> str:
        """What the stems of the file `song` would be known by, "" if nothing is remembered; reads it all."""
        if not self._ttl_ms:
            return ""
        with song.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256("\n".join([content, *options]).encode()).hexdigest()

    def made_by(self, fingerprint: str) -> str:
        """The task that made these stems, "" if there was none lately; it may have ended otherwise since."""
        found: Any = self._client.get(self._name(fingerprint)) if fingerprint else None
        return found or ""

    def remember(self, fingerprint: str, task_uuid: str) -> None:
        """These stems are stored now."""
        if fingerprint and self._ttl_ms:
            self._client.set(self._name(fingerprint), task_uuid, px=self._ttl_ms)

    def forget(self, fingerprint: str) -> None:
        """These stems are no longer stored."""
        self._client.delete(self._name(fingerprint))

    def _name(self, fingerprint: str) -> str:
        return f"{self._root}:made:{fingerprint}"
