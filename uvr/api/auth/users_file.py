"""BASIC_AUTH_USERS_FILE: an htpasswd file with bcrypt hashes, and the bearer tokens of its users in comment lines.

    anna:$2b$12$…
    #uvr-token:anna:1f0c94ab23de5567:2026-11-28T12:00:00Z:SHA-256 of the token in hex:label

`htpasswd`, and versions of the service that know no tokens, ignore lines that begin with #. A token line whose user is
neither in the file nor the admin has no effect, so a user who is removed in any way loses the tokens too.

Files are replaced as a whole while their folder is locked. So readers see the old file or the new one, and commands at
the same time lose no changes of each other.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Self

from config import SettingsError
from uvr.disk import sync

VARIABLE = "BASIC_AUTH_USERS_FILE"
MAX_PASSWORD_BYTES = 72
"""Of a password, bcrypt, and therefore htpasswd, ignores the rest."""
TOKEN_PREFIX = "uvr_"  # noqa: S105  # so that people, and tools that search for secrets, recognize a token

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTS = range(4, 15)  # from bcrypt's minimum to one that takes a second or two
_TOKEN_LINE = "#uvr-token:"  # noqa: S105  # a prefix of lines
_TOKEN = re.compile(r"(?P<user>[^:]+):(?P<id>[0-9a-f]{16}):(?P<created_at>[^:]+:\d\d:\d\dZ):(?P<digest>[0-9a-f]{64}):")
_TOKEN_BYTES = 32
_MODE, _GROUP_MODE = 0o600, 0o640


@dataclass(frozen=True)
class Token:
    """A bearer token of a user. The token itself is not kept, only its SHA-256 `digest` in hex."""

    user: str
    id: str
    created_at: str
    digest: str
    label: str = ""

    @classmethod
    def create(cls, user: str, label: str = "") -> tuple[Self, str]:
        """A new token, and its secret for the client: 256 random bits, which cannot be guessed."""
        secret = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        digest = token_digest(secret)
        created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(user, digest[:16], created_at, digest, label), secret

    @property
    def line(self) -> str:
        """Its line in the file."""
        return f"{_TOKEN_LINE}{self.user}:{self.id}:{self.created_at}:{self.digest}:{self.label}"


@dataclass(frozen=True)
class UsersFile:
    """The content of a users file: bcrypt hashes by name, tokens by digest, and the lines that they come from."""

    hashes: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, admin: str) -> Self:
        """The content of `text`. Raises `SettingsError` that names every line with an error."""
        hashes: dict[str, str] = {}
        tokens: list[Token] = []
        faults: list[str] = []
        lines = tuple(text.splitlines())
        for number, line in enumerate(lines, 1):
            fault = ""
            if line.startswith(_TOKEN_LINE):
                if (token := _token(line)) is not None:
                    tokens.append(token)
                else:
                    fault = "is not a token line as `python -m uvr users token create` writes it"
            elif line.strip() and not line.startswith("#"):
                name, _, hashed = line.rstrip().partition(":")
                fault = _fault(name, hashed, {admin, *hashes})
                hashes[name] = hashed
            if fault:
                faults.append(f"{VARIABLE}: line {number} {fault}")
        if faults:
            raise SettingsError(faults)
        return cls(hashes, {token.digest: token for token in tokens if token.user in {admin, *hashes}}, lines)

    def with_user(self, name: str, hashed: str) -> tuple[str, ...]:
        """The lines with this user, whose line is replaced if there is one; a new user has no tokens."""
        line = f"{name}:{hashed}"
        if name in self.hashes:
            return tuple(line if _is_user(old, name) else old for old in self.lines)
        return (*(old for old in self.lines if not _is_token_of(old, name)), line)

    def without_user(self, name: str) -> tuple[str, ...]:
        """The lines without this user and the user's tokens."""
        return tuple(line for line in self.lines if not (_is_user(line, name) or _is_token_of(line, name)))

    def without_token(self, token: Token) -> tuple[str, ...]:
        """The lines without this token."""
        return tuple(line for line in self.lines if not ((found := _token(line)) and found.digest == token.digest))


def read_users(path: Path | None, admin: str) -> UsersFile:
    """The file at `path`, empty if that is None. Raises `SettingsError` if it cannot be read or has errors."""
    if path is None:
        return UsersFile()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError([f"{VARIABLE}: {path} cannot be read: {reason}"]) from None
    return UsersFile.parse(text, admin)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile. Creates its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)  # not the file, which is replaced while it is locked
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def replace(path: Path, lines: tuple[str, ...]) -> None:
    """Replace the file by one with these lines, which only its owner can read. Raises `OSError`.

    Its owner stays the same, and a new file of root belongs to the owner of its folder, so that the service can read
    what root has written. A file that its group may read (mode 0640) stays so.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            old = (path if path.exists() else path.parent).stat()
            if path.exists() or os.geteuid() == 0:
                os.fchown(descriptor, old.st_uid, old.st_gid)
            if stat.S_IMODE(old.st_mode) == _GROUP_MODE:
                os.fchmod(descriptor, _GROUP_MODE)
        sync(new)
        new.replace(path)
        sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def token_digest(secret: str) -> str:
    """What is kept of a token. A plain hash is enough, because not all values of 256 random bits can be tried."""
    return sha256(secret.encode()).hexdigest()


def name_fault(name: str) -> str:
    """Why `name` cannot be the name of a new user, "" if it can."""
    if not name or name != name.strip() or ":" in name or name.startswith("#") or not name.isprintable():
        return "A name must not be empty, contain a colon or control characters, or begin with # or a space."
    return ""


def _token(line: str) -> Token | None:
    match = _TOKEN.match(line.removeprefix(_TOKEN_LINE)) if line.startswith(_TOKEN_LINE) else None
    return Token(**match.groupdict(), label=line[len(_TOKEN_LINE) + match.end() :]) if match else None


def _is_user(line: str, name: str) -> bool:
    return line.startswith(f"{name}:")


def _is_token_of(line: str, name: str) -> bool:
    return line.startswith(f"{_TOKEN_LINE}{name}:")


def _fault(name: str, hashed: str, taken_names: set[str]) -> str:
    """What is wrong with the line of a user, "" if nothing."""
    if not name or not hashed:
        return "is not name:hash"
    if name in taken_names:
        return f"names {name}, which is already taken"
    match = _HASH.fullmatch(hashed)
    if match is None:
        return f"has a hash for {name} that is not from bcrypt; create it with `python -m uvr users` or `htpasswd -B`"
    if int(match[1]) not in _COSTS:
        return f"has a hash for {name} with cost {match[1]}; use 10 to 12, as with `htpasswd -B -C 12`"
    return ""
