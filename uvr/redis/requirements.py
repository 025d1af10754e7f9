"""What the service requires of Redis: version 6.0 or later, or Valkey, and that it runs our Lua scripts.

Every start, /ready and `doctor` check this with a script that changes nothing and runs like all others. So one sentence
names a user without the right to run scripts, a proxy that rejects them, or a server that is too old. Each of these
would otherwise fail every claim for ever.
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
_NO_RIGHTS = "The Redis user may not run the service's scripts; docs/operations.md lists the rights that it needs."
_NO_SCRIPTS = f"This server does not run Lua scripts, like some proxies and managed servers; {_NEEDED}"


class UnsuitableRedisError(SettingsError):
    """The service cannot work with this Redis. `sentence` says why to any client; the fault adds Redis's own answer."""

    def __init__(self, variable: str, sentence: str, answer: str = "") -> None:
        super().__init__([f"{variable}: {sentence}" + (f" It answered: {answer}" if answer else "")])
        self.sentence = sentence


def check_redis(clients: RedisClients, settings: Settings) -> str:
    """Returns the server's name and version (`server_name`). Raises `UnsuitableRedisError` when no waiting will help.

    Raises `redis.RedisError` while the server is unreachable, full or read-only and so accepts no tasks.
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
        text = str(error)
        if "unknown command" in text and "HELLO" in text:
            sentence = _NO_HELLO
        # Redis 6 and 7, then Redis 8 and Valkey, word it like this when a command inside a script is not allowed.
        elif isinstance(error, NoPermissionError) or "user executing the script" in text or "ACL failure" in text:
            sentence = _NO_RIGHTS
        else:
            sentence = _NO_SCRIPTS
        # The rest of the text quotes the command with all its arguments.
        raise UnsuitableRedisError(variable, sentence, text.partition(", with args")[0]) from error
    return server


def check_redis_at_start(clients: RedisClients, settings: Settings) -> None:
    """`check_redis`, but a Redis that cannot be reached is no error: the process waits for it, now as later."""
    with suppress(RedisError):
        check_redis(clients, settings)


def server_name(info: Mapping[str, Any]) -> str:
    """Name and version from the answer to INFO, such as "Redis 6.0.16" or "Valkey 9.1.2"; "" if it has none."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}" if "redis_version" in info else ""


def info_of(server: Redis, *sections: str) -> dict[str, Any]:
    """The answer to INFO, {} where it is not allowed. Raises `redis.RedisError` when the server cannot be reached."""
    try:
        info: Any = server.info(*sections)
    except ResponseError:
        return {}
    return dict(info)
