"""Sessions: who has signed in on the page, remembered by a signed cookie and by Redis.

    R:session_key         String  32 random bytes in hex, see `uvr.redis.shared_key`
    R:sessions:{user}     ZSet    digest of a session's id -> when it expires, s; at most `_MAX_PER_USER`

The cookie holds the user's name, when the session began, its random id and a signature. The key of the signature comes
from the shared key and from the user's password as it is stored. So a new password ends all sessions of its user, as
does the removal of the user, and reading only Redis, or only the users file, is not enough to forge one. Redis decides
how long a session lasts, by its own clock: all processes agree, and signing out takes effect at once and everywhere.

A session that is used goes on; it ends `ttl_s` after its last use, and `MAX_S` after it began at the latest. Redis
holds digests of the ids, so reading it gives no session.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

from itsdangerous import BadData, Signer, base64_decode, base64_encode
from redis import Redis, RedisError

from uvr.api.auth.users import Account, User
from uvr.redis import scripts
from uvr.redis.shared_key import SharedKey

MAX_S = 30 * 86400
"""How long a session lasts at most, however often it is used."""

_MAX_PER_USER = 50
_ID_BYTES = 16
_SALT = "uvr-session"
_MAX_COOKIE_LENGTH = 2048
_NOBODY = Account(User("", is_admin=False), "")


@dataclass(frozen=True)
class Session:
    """One sign-in of a user. `cookie` is what the browser holds, and as good as a password until `expires_ms`."""

    user: User
    cookie: str = field(repr=False)
    expires_ms: int


class Sessions:
    """The sessions of all users. `root` is the prefix of the keys. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str, ttl_s: int) -> None:
        self._root = root
        self._ttl_s = ttl_s
        self._key = SharedKey(client, f"{root}:session_key")
        self._scripts = scripts.register_folder(client, "sessions")

    def begin(self, account: Account) -> Session:
        """A new session of this account, which must have been read before its password was checked."""
        name, session_id = account.user.name, secrets.token_urlsafe(_ID_BYTES)
        args: list[str | int] = [_digest(session_id), self._ttl_s, _MAX_PER_USER, MAX_S]
        began_s = int(self._scripts["begin"](keys=[self._sessions_of(name)], args=args))
        text = f"{base64_encode(name).decode()}.{began_s}.{session_id}"
        return Session(account.user, self._signer(account).sign(text).decode(), (began_s + self._ttl_s) * 1000)

    def find(self, cookie: str, account_of: Callable[[str], Account | None]) -> Session | None:
        """The session with this cookie; None if it is forged, has ended, or its user is gone or has a new password.

        It lasts longer from now on, if Redis accepts writes.
        """
        found = self._verified(cookie, account_of)
        if found is None:
            return None
        account, began_s, digest = found
        keys = [self._sessions_of(account.user.name)]
        now_s, expires_s = map(int, self._scripts["read"](keys=keys, args=[digest]))
        if not expires_s:
            return None
        later_s = min(now_s + self._ttl_s, began_s + MAX_S)
        if later_s - expires_s > self._ttl_s / 10:  # so most requests write nothing
            with suppress(RedisError):  # a server that accepts no writes can still show tasks
                self._scripts["extend"](keys=keys, args=[digest, later_s])
                expires_s = later_s
        return Session(account.user, cookie, expires_s * 1000)

    def end(self, cookie: str, account_of: Callable[[str], Account | None]) -> User | None:
        """End the session with this cookie, everywhere. Returns whose it was, None if it is not valid anyway."""
        found = self._verified(cookie, account_of)
        if found is None:
            return None
        account, _, digest = found
        self._scripts["end"](keys=[self._sessions_of(account.user.name)], args=[digest])
        return account.user

    def _verified(self, cookie: str, account_of: Callable[[str], Account | None]) -> tuple[Account, int, str] | None:
        """The account that the cookie names, when the session began, and the digest of its id, if it is genuine."""
        if len(cookie) > _MAX_COOKIE_LENGTH:
            return None
        try:
            # An unknown name takes as long as a wrong signature, so the time does not tell which names exist.
            account = account_of(base64_decode(cookie.partition(".")[0]).decode()) or _NOBODY
            _, began_s, session_id = self._signer(account).unsign(cookie).decode().split(".")
        except (BadData, ValueError):
            return None
        return account, int(began_s), _digest(session_id)

    def _signer(self, account: Account) -> Signer:
        # Neither a name nor what is stored of a password contains a line break.
        secret = hmac.digest(self._key(), f"{account.user.name}\n{account.stored_password}".encode(), "sha256")
        return Signer(secret, salt=_SALT, key_derivation="hmac", digest_method=sha256)

    def _sessions_of(self, name: str) -> str:
        return f"{self._root}:sessions:{name}"


def _digest(session_id: str) -> str:
    return sha256(session_id.encode()).hexdigest()[:32]
