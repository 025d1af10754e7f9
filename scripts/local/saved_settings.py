"""Hashes of the settings that a running process was started with, so that a later command can say what has changed.

The file next to the pid file holds a salted hash of each value and no values, and only this user can read it.
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
"""The settings that the embedded Redis is started with."""

SERVICE_SETTINGS = frozenset(Settings.model_fields) - {"uvr_url", "uvr_username", "uvr_password", "uvr_token"}
"""The settings that the API and the workers read: all except those of the client commands."""


def save_hashes(file: Path, settings: Settings, names: Collection[str]) -> None:
    """Save the hashes of the settings `names`, with which a process was started."""
    salt = secrets.token_hex(16)
    hashes = {name: _hash(salt, settings, name) for name in names}
    file.unlink(missing_ok=True)  # because the mode below applies to new files only
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump({"salt": salt, "hashes": hashes}, out)


def changed_settings(file: Path, settings: Settings) -> set[str]:
    """Names of the settings that had other values when `file` was written; empty if it is missing or damaged.

    Settings that did not exist in the version that wrote the file do not count.
    """
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        salt, hashes = str(saved["salt"]), dict(saved["hashes"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    names = hashes.keys() & Settings.model_fields.keys()
    return {name for name in names if _hash(salt, settings, name) != hashes[name]}


def _hash(salt: str, settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    text = value.get_secret_value() if isinstance(value, SecretStr) else repr(value)
    return hmac.new(salt.encode(), f"{name}={text}".encode(), sha256).hexdigest()
