"""Songs that were separated recently: the same bytes, model and format need no second separation.

A fingerprint of the song's bytes, not of its URL, and of the model's files, not of their names, says what is the same.
The uploader copies the stems under the keys of the new task, so that each task has its own stems and either can be
deleted without the other. CACHE_TTL_HOURS turns this on; it is 0 by default.

    R:made:{fingerprint}   String  the id of the task that made the stems last; expires
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from redis import Redis


class ResultCache:
    """Fingerprints under `root`, each kept for `ttl_s` seconds; 0 keeps none. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str, ttl_s: float) -> None:
        self._client = client
        self._root = root
        self._ttl_ms = round(ttl_s * 1000)

    def fingerprint(self, song: Path, *options: str) -> str:
        """The fingerprint of the stems that the file `song` gives with these options; reads the whole file.

        "" when the cache is off.
        """
        if not self._ttl_ms:
            return ""
        with song.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256("\n".join([content, *options]).encode()).hexdigest()

    def find(self, fingerprint: str) -> str:
        """The id of the task that made these stems, "" for none; the task or its stems may be gone since."""
        found: Any = self._client.get(self._key(fingerprint)) if fingerprint else None
        return found or ""

    def remember(self, fingerprint: str, task_uuid: str) -> None:
        """These stems are stored now."""
        if fingerprint and self._ttl_ms:
            self._client.set(self._key(fingerprint), task_uuid, px=self._ttl_ms)

    def forget(self, fingerprint: str) -> None:
        """These stems are no longer stored."""
        self._client.delete(self._key(fingerprint))

    def _key(self, fingerprint: str) -> str:
        return f"{self._root}:made:{fingerprint}"
