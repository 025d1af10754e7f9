"""Idempotency keys: a request that is sent again under its key counts once.

A client that did not get its answer cannot know whether its song was taken in. With a key it just asks again: the same
request gets the same task, and the key of another request is refused. Keys are each user's own.
"""

from __future__ import annotations

import hashlib
import json

from redis_queue import IdempotencyKey
from uvr.api.schemas.requests import GenerateRequest

_REMEMBERED_MS = 24 * 3_600_000


def once(user: str, key: str, body: GenerateRequest, audio: str) -> IdempotencyKey | None:
    """How the request is told from others, None without a key; `audio` stands for the song: its URL or its hash."""
    if not key:
        return None
    # What was left out is not among the options, so that a version with more of them knows the request again.
    options = body.model_dump(mode="json", exclude={"audio"}, exclude_defaults=True)
    return IdempotencyKey(_hash([user, key]), _hash([audio, options]), _REMEMBERED_MS)


def _hash(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
