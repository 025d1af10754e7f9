"""The webhook secrets of users: with one of their own, no other user can sign webhooks to their receivers.

A user makes a secret, sees it once, and gives it to the receivers. From then on it signs the webhooks of that user's
tasks instead of WEBHOOK_SECRET. A secret that is replaced signs as well for another day, also WEBHOOK_SECRET by the
first one, so there is time to give receivers the new one. Standard Webhooks allows several signatures in one header.

    R:webhook_secrets:{user}    ZSet    secret, '' for WEBHOOK_SECRET -> when it was made, ms; the newest one and up to
                                        three before it

Secrets are stored as they are, readable in Redis; docs/decisions/0026-webhooks-of-several-users.md says why.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from redis import Redis

from uvr.redis import scripts

OVERLAP_MS = 24 * 3_600_000
"""For how long a secret signs after it was replaced."""

_MAX_KEPT = 4
"""More than two, so that a request to make a secret that is repeated does not end the one that receivers know."""
_KEY_BYTES = 32


@dataclass(frozen=True)
class UserSecret:
    """One secret in the form of Standard Webhooks: whsec_ and base64; "" stands for the secret of the service."""

    text: str = field(repr=False)
    made_ms: int
    until_ms: int | None = None
    """When it signs no more, None while it is the current one."""

    @property
    def fingerprint(self) -> str:
        """Identifies the secret without giving it away: 12 hex digits of the SHA-256 of its text."""
        return sha256(self.text.encode()).hexdigest()[:12]


class UserSecrets:
    """The secrets of all users. `root` is the prefix of the keys. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._root = root
        self._scripts = scripts.register_folder(client, "webhook_secrets")

    def valid(self, user: str) -> list[UserSecret]:
        """The secrets that sign the webhooks of `user` now, the current one first; empty if the user has none."""
        found: list[Any] = self._scripts["valid"](keys=[self._key(user)], args=[OVERLAP_MS])
        valid: list[UserSecret] = []
        for text, made_ms in zip(found[::2], map(int, found[1::2]), strict=True):
            until_ms = valid[-1].made_ms + OVERLAP_MS if valid else None
            valid.append(UserSecret(text, made_ms, until_ms))
        return valid

    def make(self, user: str) -> UserSecret:
        """Make a new secret the current one of `user`."""
        text = f"whsec_{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"
        return UserSecret(text, int(self._scripts["add"](keys=[self._key(user)], args=[text, _MAX_KEPT])))

    def remove(self, user: str) -> None:
        """Remove all secrets of `user`, those that were replaced lately included."""
        self._client.delete(self._key(user))

    def _key(self, user: str) -> str:
        return f"{self._root}:webhook_secrets:{user}"
