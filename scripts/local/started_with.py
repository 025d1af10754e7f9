"""Which settings a running process was started with, so that a later start can say which of them have changed since.

A file beside the pid file holds a salted hash of each value and no value, and only this user may read it.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from pydantic import SecretStr

from config import Settings

REDIS_SETTINGS = frozenset({"redis_host", "redis_port", "redis_db", "redis_password"})
"""What a Redis of our own is started with."""

DOOR_SETTINGS = frozenset(Settings.model_fields) - {"uvr_url", "uvr_username", "uvr_password"}
"""What the API and the workers read: everything but the settings of the client's commands."""


def remember(file: Path, settings: Settings, names: Collection[str]) -> None:
    """Write down that a process was started with these settings, of which it reads `names`."""
    salt = secrets.token_hex(16)
    hashes = {name: _hash(salt, settings, name) for name in names}
    file.unlink(missing_ok=True)  # the mode below is that of a new file only
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump({"salt": salt, "hashes": hashes}, out)


def changed(file: Path, settings: Settings) -> set[str]:
    """Names of the settings whose values were others when `file` was written; none when it is missing or damaged.

    A setting that an older version of the service did not know yet does not count.
    """
    try:
        remembered = json.loads(file.read_text(encoding="utf-8"))
        salt, hashes = str(remembered["salt"]), dict(remembered["hashes"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    known = hashes.keys() & Settings.model_fields.keys()
    return {name for name in known if _hash(salt, settings, name) != hashes[name]}


def _hash(salt: str, settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    text = value.get_secret_value() if isinstance(value, SecretStr) else repr(value)
    return hmac.new(salt.encode(), f"{name}={text}".encode(), sha256).hexdigest()
