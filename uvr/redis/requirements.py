"""What the service requires of a Redis: version 6.0 or later, or Valkey, and that it runs our Lua scripts.

Asked at every start, by /ready and by `doctor`, with a script that changes nothing and is loaded and run as all others
are. So a user without the right to run scripts, a proxy that keeps them out and a server that is too old are named in
one sentence, where each of them would otherwise fail every claim for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redis import Redis, RedisError, ResponseError
from redis.exceptions import NoPermissionError

from config import Settings, SettingsError
from uvr.redis import scripts
from uvr.redis.clients import RedisClients
from uvr.redis.errors import is_transient

_TOO_OLD = re.compile(r"Redis [1-5]\.")
_NEEDED = "the service needs Redis 6.0 or later, or Valkey."
_NO_HELLO = f"This server does not know the command HELLO, so it is older than Redis 6.0 or a simple proxy; {_NEEDED}"
_NO_RIGHTS = "The user of Redis may not run the service's scripts; docs/operations.md lists the rights that it needs."
_NO_SCRIPTS = f"This server does not run Lua scripts, as some proxies and managed ones do not; {_NEEDED}"


class UnsuitableRedisError(SettingsError):
    """The service cannot work with this Redis. `sentence` says why, for everybody; the fault has Redis's own words."""

    def __init__(self, variable: str, sentence: str, answer: str = "") -> None:
        super().__init__([f"{variable}: {sentence}" + (f" It answered: {answer}" if answer else "")])
        self.sentence = sentence


def check_redis(clients: RedisClients, settings: Settings) -> str:
    """The name and version of the server, as `server_name`. Raises `UnsuitableRedisError` when no waiting will help.

    Raises `redis.RedisError` while it is away, full or read-only, so that tasks are not taken in for now.
    """
    variable = "REDIS_URL" if settings.redis_url.get_secret_value() else "REDIS_HOST"
    queue = settings.redis_task_queue
    try:
        server = server_name(info_of(clients.server_of(queue), "server"))
        if _TOO_OLD.match(server):
            raise UnsuitableRedisError(variable, f"{server} is too old; {_NEEDED}")
        scripts.register(clients.commands, "check")(keys=[queue])
    except ResponseError as error:
        if is_transient(error):
            raise
        # What stands behind it quotes the command with all its arguments.
        answer = str(error).partition(", with args")[0]
        raise UnsuitableRedisError(variable, _why(error), answer) from error
    return server


def check_redis_at_start(clients: RedisClients, settings: Settings) -> None:
    """`check_redis` of a Redis that answers; one that is away is waited for later, like every other time."""
    with suppress(RedisError):
        check_redis(clients, settings)


def server_name(info: Mapping[str, Any]) -> str:
    """Such as Redis 6.0.16 or Valkey 9.1.2, by the answer to INFO; "" where that does not say."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}" if "redis_version" in info else ""


def info_of(server: Redis, *sections: str) -> dict[str, Any]:
    """The answer to INFO, empty where the service may not ask. Raises `redis.RedisError` when the server is away."""
    try:
        told: Any = server.info(*sections)
    except ResponseError:
        return {}
    return dict(told)


def _why(error: ResponseError) -> str:
    text = str(error)
    if "unknown command" in text and "HELLO" in text:
        return _NO_HELLO
    # Without the first one: a command within a script, in the words of Redis 6 and 7, and of Redis 8 and Valkey.
    if isinstance(error, NoPermissionError) or "user executing the script" in text or "ACL failure" in text:
        return _NO_RIGHTS
    return _NO_SCRIPTS
