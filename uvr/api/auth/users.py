"""The users: the admin, configured by the environment, and those of BASIC_AUTH_USERS_FILE, with their bearer tokens.

The file is read again when it changes. A new file with errors is refused as a whole: the log names the errors, and the
users stay as they were. `uvr.api.auth.users_file` describes its format.

A check by bcrypt takes a quarter of a second, as bcrypt intends, so `uvr.api.auth.password_checks` limits them. A
password that was right is recognized for a minute by a hash under a key that never leaves this process. A wrong
password takes equally long whether or not there is a user of that name, so timing does not reveal who exists.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import bcrypt
import structlog

from config import Settings, SettingsError
from uvr.api.auth.password_checks import PasswordChecks, TooManyChecksError
from uvr.api.auth.users_file import MAX_PASSWORD_BYTES, UsersFile, read_users, token_digest

log = structlog.get_logger()

_REMEMBERED_S = 60.0
_CHECK_AGAIN_S = 30.0
_MAX_REMEMBERED = 1000


@dataclass(frozen=True)
class User:
    """An authenticated user. The admin sees the tasks of all users."""

    name: str
    is_admin: bool


@dataclass(frozen=True)
class Account:
    """A user, with what the service stores of the password: it changes whenever the password does."""

    user: User
    stored_password: str = field(repr=False)


class Users:
    """All users that may authenticate. Raises `SettingsError` if the file cannot be read or has errors.

    Safe to use from several threads.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin = settings.basic_auth_username
        self._admin_password = settings.basic_auth_password.get_secret_value()
        self._path = settings.basic_auth_users_file
        self._remembered = _RememberedPasswords(clock)
        self._checks = PasswordChecks()
        self._lock = threading.Lock()
        self._version = _version(self._path)
        self._file = read_users(self._path, self._admin)

    def recognize(self, name: str, password: str) -> User | None:
        """The admin, or a user whose password was right within the last minute. Costs next to nothing."""
        hashed = self._hash_for(name)
        if _equal(name, self._admin) & _equal(password, self._admin_password):
            return User(name, is_admin=True)
        age_s = self._remembered.age_s(name, hashed, password)
        return User(name, is_admin=False) if age_s < _REMEMBERED_S else None

    def keep_recognizing(self, name: str, password: str) -> None:
        """Check a recognized password again half a minute after the last time, unless other checks are being made.

        Otherwise a client with several requests at the same time would get a 429 every minute.
        """
        if _CHECK_AGAIN_S < self._remembered.age_s(name, self._hash_for(name), password) < _REMEMBERED_S:
            with suppress(TooManyChecksError):
                self.check(name, password, is_known=True)

    def check(self, name: str, password: str, *, is_known: bool, patience_s: float = 0.0) -> User | None:
        """The user of the file with this password. Takes equally long whether the name or the password is wrong.

        `is_known` says whether the name has logged in from the client's address before; then this may wait for
        `patience_s`. Raises `TooManyChecksError`.
        """
        hashed = self._hash_for(name)
        if not hashed:
            return None
        with self._checks.one(is_known=is_known, patience_s=patience_s) as has_waited:
            # Another request of the same client may have had the same password checked meanwhile.
            is_right = has_waited and self._remembered.age_s(name, hashed, password) < _REMEMBERED_S
            is_right = is_right or bcrypt.checkpw(_significant(password), hashed.encode())
        if not is_right or name not in self._current_file().hashes:
            return None
        self._remembered.add(name, hashed, password)
        return User(name, is_admin=False)

    def by_token(self, token: str) -> User | None:
        """The user to whom a bearer token was given, None if it is wrong or revoked."""
        found = self._current_file().tokens.get(token_digest(token))
        return User(found.user, is_admin=found.user == self._admin) if found else None

    def account(self, name: str) -> Account | None:
        """The account of this name, None if there is none."""
        if name == self._admin:
            return Account(User(name, is_admin=True), self._admin_password)
        hashed = self._current_file().hashes.get(name)
        return Account(User(name, is_admin=False), hashed) if hashed else None

    def _hash_for(self, name: str) -> str:
        """The bcrypt hash to check a password against; "" if there are no users but the admin.

        For an unknown name it is the hash of some user, always the same one for the same name.
        """
        hashes = self._current_file().hashes
        if not hashes or name in hashes:
            return hashes.get(name, "")
        decoy = int.from_bytes(sha256(name.encode()).digest()[:8]) % len(hashes)
        return list(hashes.values())[decoy]

    def _current_file(self) -> UsersFile:
        """The file as it is now, or as it was if it has errors now."""
        with self._lock:
            version = _version(self._path)
            if version != self._version:
                self._version = version
                try:
                    self._file = read_users(self._path, self._admin)
                except SettingsError as error:
                    log.error("users.refused", faults=error.faults)
                else:
                    log.info("users.read", users=len(self._file.hashes), tokens=len(self._file.tokens))
            return self._file


class _RememberedPasswords:
    """Passwords that were right, as hashes under a key of this process. A changed bcrypt hash invalidates them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._checked_at: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def age_s(self, name: str, hashed: str, password: str) -> float:
        """Seconds since the password was checked, infinite if it is not remembered."""
        digest = self._digest(name, hashed, password)
        with self._lock:
            return self._clock() - self._checked_at.get(digest, float("-inf"))

    def add(self, name: str, hashed: str, password: str) -> None:
        digest = self._digest(name, hashed, password)
        with self._lock:
            self._checked_at[digest] = self._clock()
            self._checked_at.move_to_end(digest)
            if len(self._checked_at) > _MAX_REMEMBERED:
                self._checked_at.popitem(last=False)

    def _digest(self, name: str, hashed: str, password: str) -> bytes:
        # Neither a name nor a bcrypt hash contains a colon, so two users never result in the same text. Only the part
        # of the password that bcrypt sees counts; otherwise its owner could ask for a check with every request.
        return hmac.digest(self._key, f"{name}:{hashed}:".encode() + _significant(password), "sha256")


def _significant(password: str) -> bytes:
    """The part of a password that bcrypt uses."""
    return password.encode()[:MAX_PASSWORD_BYTES]


def _version(path: Path | None) -> tuple[int, ...]:
    """Values that change whenever the file does; empty if there is no file."""
    try:
        status = path.stat() if path else None
    except OSError:
        status = None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else ()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
