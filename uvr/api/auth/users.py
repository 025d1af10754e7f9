"""Who may use the API: the admin, who stands in the environment, and the users of BASIC_AUTH_USERS_FILE.

The file is an htpasswd file, a `name:hash` on each line, with hashes by bcrypt as `htpasswd -B` writes them; empty
lines and those that begin with # are passed over. It is read again when it changes. If the new one has faults it is
refused as a whole, the log names them, and the users stay as they were.

Finding out whether a password is right takes a tenth of a second: that is what bcrypt is for. So one that was right is
known again for some minutes, by a hash under a key that this process keeps to itself. One that is wrong takes as long
for a name that nobody has as for any other.
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
_COSTS = range(4, 15)  # from the least that bcrypt knows to one that takes a second or two
_SIGNIFICANT_BYTES = 72  # of a password; bcrypt, and so htpasswd, goes by no more
_REMEMBERED_S = 300.0
_REMEMBERED_USERS = 1000


@dataclass(frozen=True)
class User:
    """Somebody whose password was right. The admin sees everybody's tasks."""

    name: str
    is_admin: bool


class Users:
    """Everybody who may sign in. Raises `SettingsError` when the file cannot be read or has faults."""

    def __init__(self, settings: Settings) -> None:
        self._admin = settings.basic_auth_username
        self._admin_password = settings.basic_auth_password.get_secret_value()
        self._file = settings.basic_auth_users_file
        self._remembered = _Remembered()
        self._lock = threading.Lock()
        self._version = _version(self._file)
        self._hashes = self._read()

    def verify(self, name: str, password: str) -> User | None:
        """The user of this name if the password is theirs; takes equally long whichever of the two is wrong."""
        hashes = self._current()
        if _equal(name, self._admin) & _equal(password, self._admin_password):
            return User(name, is_admin=True)
        if not hashes:
            return None
        known = hashes.get(name)
        right = self._is_right(name, password, known or _decoy(name, hashes))
        return User(name, is_admin=False) if known and right else None

    def _is_right(self, name: str, password: str, hashed: str) -> bool:
        if self._remembered.knows(name, hashed, password):
            return True
        right = bcrypt.checkpw(password.encode()[:_SIGNIFICANT_BYTES], hashed.encode())
        if right:
            self._remembered.add(name, hashed, password)
        return right

    def _current(self) -> Mapping[str, str]:
        with self._lock:
            version = _version(self._file)
            if version != self._version:
                self._version = version
                self._read_again()
            return self._hashes

    def _read_again(self) -> None:
        try:
            self._hashes = self._read()
        except SettingsError as error:
            log.error("users.refused", faults=error.faults)
        else:
            log.info("users.read", users=len(self._hashes))

    def _read(self) -> Mapping[str, str]:
        return {} if self._file is None else _read_users(self._file, self._admin)


class _Remembered:
    """Passwords that were right lately, as hashes under a key of this process; a changed hash forgets them."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, name: str, hashed: str, password: str) -> bool:
        with self._lock:
            return self._until.get(self._mark(name, hashed, password), 0.0) > time.monotonic()

    def add(self, name: str, hashed: str, password: str) -> None:
        with self._lock:
            mark = self._mark(name, hashed, password)
            self._until[mark] = time.monotonic() + _REMEMBERED_S
            self._until.move_to_end(mark)
            if len(self._until) > _REMEMBERED_USERS:
                self._until.popitem(last=False)

    def _mark(self, name: str, hashed: str, password: str) -> bytes:
        # Neither a name nor a hash of the file holds a colon, so no two users come to the same text.
        return hmac.digest(self._key, f"{name}:{hashed}:{password}".encode(), "sha256")


def _read_users(path: Path, admin: str) -> Mapping[str, str]:
    """Names and hashes. Raises `SettingsError` that names every faulty line."""
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


def _fault(name: str, hashed: str, taken: set[str]) -> str:
    if not name or not hashed:
        return "is not name:hash"
    if name in taken:
        return f"names {name}, who is there already"
    match = _HASH.fullmatch(hashed)
    if match is None:
        return f"has a hash for {name} that is not bcrypt's; make it with `htpasswd -B`"
    if int(match[1]) not in _COSTS:
        return f"has a hash for {name} of cost {match[1]}; make it with 10 to 12, by `htpasswd -B -C 12`"
    return ""


def _decoy(name: str, hashes: Mapping[str, str]) -> str:
    """The hash that a name nobody has is checked against: some user's, and always the same one's."""
    number = int.from_bytes(sha256(name.encode()).digest()[:8])
    return list(hashes.values())[number % len(hashes)]


def _version(path: Path | None) -> tuple[int, ...]:
    """What changes when the file does; empty when there is none."""
    if path is None:
        return ()
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
