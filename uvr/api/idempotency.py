"""Idempotency keys: a request that is sent again under the same key creates no second task.

A client that got no response cannot know whether its task was queued. With an `Idempotency-Key` it can send the request
again: the same request gets the task of the first one, and a different request under that key is refused. Each user has
their own keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from redis_queue import IdempotencyKey
from uvr.api.schemas.requests import GenerateRequest

_REMEMBERED_MS = 24 * 3_600_000


def once(user: str, key: str, body: GenerateRequest, audio: str) -> IdempotencyKey | None:
    """What identifies the request, None if it has no key. `audio` stands for the song: its URL, or its hash."""
    return IdempotencyKey(_hash([user, key]), _hash([audio, _options(body)]), _REMEMBERED_MS) if key else None


def once_for_all(user: str, key: str, bodies: Iterable[GenerateRequest]) -> IdempotencyKey | None:
    """What identifies a request for several songs by their URLs, None if it has no key."""
    songs = [[body.audio, _options(body)] for body in bodies]
    return IdempotencyKey(_hash([user, key]), _hash(["batch", songs]), _REMEMBERED_MS) if key else None


def _options(body: GenerateRequest) -> dict[str, object]:
    """What was asked for about a song; without what was left out, so that a later version with more options agrees."""
    return body.model_dump(mode="json", exclude={"audio"}, exclude_defaults=True)


def _hash(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
