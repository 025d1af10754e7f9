"""Idempotency keys: a request that is sent again under the same key creates no second task.

A client that got no response cannot know whether its task was queued. With an `Idempotency-Key` it can send the request
again: the same request gets the task of the first one, and a different request under that key is refused. Each user has
their own keys.
"""

from __future__ import annotations

import hashlib
import json

from redis_queue import IdempotencyKey
from uvr.api.schemas.requests import GenerateRequest

_REMEMBERED_MS = 24 * 3_600_000


def once(user: str, key: str, body: GenerateRequest, audio: str) -> IdempotencyKey | None:
    """What identifies the request, None if it has no key. `audio` stands for the song: its URL, or its hash."""
    if not key:
        return None
    # Options that were left out are not hashed, so a later version with more options still recognizes the request.
    options = body.model_dump(mode="json", exclude={"audio"}, exclude_defaults=True)
    return IdempotencyKey(_hash([user, key]), _hash([audio, options]), _REMEMBERED_MS)


def _hash(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
