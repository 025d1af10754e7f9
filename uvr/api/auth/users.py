"""The users: the admin, configured by the environment, and those of BASIC_AUTH_USERS_FILE.

The file is an htpasswd file with bcrypt hashes, as `htpasswd -B` writes it: `name:hash` on each line; empty lines and
lines that begin with # are ignored. It is read again when it changes. A new file with errors is refused as a whole: the
log names them, and the users stay as they were.

Verifying a password takes a tenth of a second, as bcrypt intends. So a password that was right is recognized for some
minutes by a hash under a key that never leaves this process. A wrong password takes equally long whether or not there
is a user of that name, so timing does not reveal who exists.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import bcrypt
import structlog

from config import Settings, SettingsError

log = structlog.get_logger()

_VARIABLE = "BASIC_AUTH_USERS_FILE"
_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTS = range(4, 15)  # from bcrypt's minimum to one that takes a second or two
_SIGNIFICANT_BYTES = 72  # of a password; bcrypt, and therefore htpasswd, ignores the rest
_VERIFIED_S = 300.0
_MAX_VERIFIED = 1000


@dataclass(frozen=True)
class User:
    """An authenticated user. The admin sees the tasks of all users."""

    name: str
    is_admin: bool


class Users:
    """All users that may authenticate. Raises `SettingsError` if the file cannot be read or has errors.

    Safe to use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._admin = settings.basic_auth_username
        self._admin_password = settings.basic_auth_password.get_secret_value()
        self._file = settings.basic_auth_users_file
        self._verified = _VerifiedPasswords()
        self._lock = threading.Lock()
        self._version = _version(self._file)
        self._hashes = _read_users(self._file, self._admin)

    def verify(self, name: str, password: str) -> User | None:
        """The user with these credentials, else None. Takes equally long whether the name or the password is wrong."""
        hashes = self._current_hashes()
        if _equal(name, self._admin) & _equal(password, self._admin_password):
            return User(name, is_admin=True)
        if not hashes:
            return None
        # For an unknown name, check against the hash of some user, always the same one for the same name.
        decoy = int.from_bytes(sha256(name.encode()).digest()[:8]) % len(hashes)
        hashed = hashes.get(name) or list(hashes.values())[decoy]
        if self._verified.contains(name, hashed, password):
            is_right = True
        elif is_right := bcrypt.checkpw(password.encode()[:_SIGNIFICANT_BYTES], hashed.encode()):
            self._verified.add(name, hashed, password)
        return User(name, is_admin=False) if is_right and name in hashes else None

    def _current_hashes(self) -> Mapping[str, str]:
        """The hashes by name, from the file as it is now, or as it was if it has errors now."""
        with self._lock:
            version = _version(self._file)
            if version != self._version:
                self._version = version
                try:
                    self._hashes = _read_users(self._file, self._admin)
                except SettingsError as error:
                    log.error("users.refused", faults=error.faults)
                else:
                    log.info("users.read", users=len(self._hashes))
            return self._hashes


class _VerifiedPasswords:
    """Recently verified passwords, as hashes under a key of this process. A changed bcrypt hash invalidates them."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def contains(self, name: str, hashed: str, password: str) -> bool:
        with self._lock:
            return self._until.get(self._digest(name, hashed, password), 0.0) > time.monotonic()

    def add(self, name: str, hashed: str, password: str) -> None:
        with self._lock:
            digest = self._digest(name, hashed, password)
            self._until[digest] = time.monotonic() + _VERIFIED_S
            self._until.move_to_end(digest)
            if len(self._until) > _MAX_VERIFIED:
                self._until.popitem(last=False)

    def _digest(self, name: str, hashed: str, password: str) -> bytes:
        # Neither a name nor a bcrypt hash contains a colon, so two users never result in the same text.
        return hmac.digest(self._key, f"{name}:{hashed}:{password}".encode(), "sha256")


def _read_users(path: Path | None, admin: str) -> Mapping[str, str]:
    """The bcrypt hashes by name, empty without a file. Raises `SettingsError` that names every line with an error."""
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError([f"{_VARIABLE}: {path} cannot be read: {reason}"]) from None
    hashes: dict[str, str] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.rstrip().partition(":")
        if fault := _fault(name, hashed, {admin, *hashes}):
            faults.append(f"{_VARIABLE}: line {number} {fault}")
        hashes[name] = hashed
    if faults:
        raise SettingsError(faults)
    return hashes


def _fault(name: str, hashed: str, taken_names: set[str]) -> str:
    """What is wrong with a line, "" if nothing."""
    if not name or not hashed:
        return "is not name:hash"
    if name in taken_names:
        return f"names {name}, which is already taken"
    match = _HASH.fullmatch(hashed)
    if match is None:
        return f"has a hash for {name} that is not from bcrypt; create it with `htpasswd -B`"
    if int(match[1]) not in _COSTS:
        return f"has a hash for {name} with cost {match[1]}; use 10 to 12, as with `htpasswd -B -C 12`"
    return ""


def _version(path: Path | None) -> tuple[int, ...]:
    """Values that change whenever the file does; empty if there is no file."""
    try:
        status = path.stat() if path else None
    except OSError:
        status = None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else ()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
