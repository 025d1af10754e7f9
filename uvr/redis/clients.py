"""The two Redis clients of a process, from settings: one for commands, one for blocking waits.

They differ only in their socket timeout, which must exceed a blocking wait. Neither retries by itself: a claim sent
twice would lease two tasks. Neither connects before the first command, so a missing Redis, of any kind, fails commands
and not the start of the process. REDIS_URL (redis://, rediss://, unix://, redis+sentinel://, redis+cluster://,
rediss+cluster://) takes precedence over REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_PASSWORD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import Redis, Sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from config import Settings, SettingsError
from uvr.redis.cluster import Address, Cluster

WAIT_S = 2.0
"""The longest blocking wait: a worker notices within this time that it should stop or that a delayed item is due."""

_COMMAND_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 3.0
_SENTINEL_TIMEOUT_S = 1.0
_HASH_TAG = re.compile(r"[^{]*\{([^}]+)\}")
_UNREADABLE = (
    "REDIS_URL: must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// and name a host; "
    "in its password write %2F for /, %3F for ?, %23 for # and %40 for @"
)


@dataclass(frozen=True)
class RedisClients:
    """`commands` is for everything but blocking waits, which use `blocking`."""

    commands: Redis
    blocking: Redis

    def server_of(self, key: str) -> Redis:
        """The server that holds `key`: a node of the Cluster, or the only server."""
        return self.commands.server_of(key) if isinstance(self.commands, Cluster) else self.commands

    def close(self) -> None:
        """Close both clients' connections."""
        self.commands.close()
        self.blocking.close()


def connect(settings: Settings, *, command_timeout_s: float = _COMMAND_TIMEOUT_S) -> RedisClients:
    """Clients for the configured Redis, not connected yet. Raises `SettingsError` for an invalid REDIS_URL."""
    return RedisClients(
        commands=_client(settings, command_timeout_s),
        blocking=_client(settings, WAIT_S + command_timeout_s),
    )


def _client(settings: Settings, timeout_s: float) -> Redis:
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, _CONNECT_TIMEOUT_S),
        "health_check_interval": 30,
        "retry": _no_retry(),
    }
    url = settings.redis_url.get_secret_value()
    if not url:
        password = settings.redis_password.get_secret_value() or None
        return Redis(settings.redis_host, settings.redis_port, settings.redis_db, password, **options)
    try:
        if clashing := sorted(options.keys() & dict(parse_qsl(urlsplit(url).query))):
            # redis-py would prefer the URL's value, for instance a timeout shorter than a blocking wait.
            raise SettingsError([f"REDIS_URL: remove {', '.join(clashing)}; the service sets its own"])
        if url.startswith("redis+sentinel://"):
            return _behind_sentinel(url, options)
        if url.startswith(("redis+cluster://", "rediss+cluster://")):
            return _cluster(url, settings, options)
        return Redis.from_url(url, **options)
    except ValueError:
        # The message of urllib may quote a part of the password.
        raise SettingsError([_UNREADABLE]) from None


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _behind_sentinel(url: str, options: dict[str, Any]) -> Redis:
    """`redis+sentinel://[user][:password@]host[:port][,host[:port]…]/service[/db]`; the password is the master's.

    `?sentinel_password=…` is for sentinels that have a password of their own.
    """
    userinfo, addresses = _userinfo_and_addresses(url, default_port=26379)
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not addresses or not service or not (db or "0").isdigit():
        raise SettingsError(["REDIS_URL: write redis+sentinel://:password@host1:26379,host2:26379/service/db"])
    user, _, password = map(unquote, userinfo.partition(":"))
    query = dict(parse_qsl(urlsplit(url).query))
    # When one sentinel does not answer the client asks the next, so it waits less for each than for the master.
    sentinel_options = {
        "password": query.get("sentinel_password"),
        "socket_timeout": _SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": _SENTINEL_TIMEOUT_S,
        "retry": _no_retry(),
    }
    sentinel: Any = Sentinel(addresses, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(
        service, db=int(db or 0), username=user or None, password=password or None, **options
    )
    return master


def _cluster(url: str, settings: Settings, options: dict[str, Any]) -> Redis:
    """`redis+cluster://[user][:password@]host[:port][,host[:port]…]`, or rediss+cluster://; not every node is needed.

    The scripts need all keys in one slot, so all queue names must carry the same hash tag.
    """
    names = (settings.redis_task_queue, settings.redis_result_queue, settings.redis_webhook_queue)
    tags = {match.group(1) if (match := _HASH_TAG.match(name)) else None for name in names}
    if None in tags or len(tags) > 1:
        fault = (
            "REDIS_TASK_QUEUE, REDIS_RESULT_QUEUE, REDIS_WEBHOOK_QUEUE: in a Redis Cluster all three must carry "
            "one hash tag, for example {uvr}tasks, {uvr}results and {uvr}webhooks"
        )
        raise SettingsError([fault])
    _, addresses = _userinfo_and_addresses(url, default_port=6379)
    if not addresses or urlsplit(url).path not in ("", "/", "/0"):
        raise SettingsError(
            ["REDIS_URL: write redis+cluster://:password@host1:6379,host2:6379; a Cluster has only db 0"]
        )
    # It has the commands used here, but shares no base class with Redis.
    cluster: Any = Cluster(_url_of_first(url), addresses[1:], **options)
    client: Redis = cluster
    return client


def _url_of_first(url: str) -> str:
    """The URL with the first node of a Cluster only. Raises `ValueError` when redis-py could not read it."""
    parts = urlsplit(url)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    first = parts._replace(
        scheme=parts.scheme.removesuffix("+cluster"), netloc=userinfo + at + hosts.partition(",")[0]
    ).geturl()
    parse_url(first)  # type: ignore[no-untyped-call]
    return first


def _userinfo_and_addresses(url: str, *, default_port: int) -> tuple[str, list[Address]]:
    userinfo, _, hosts = urlsplit(url).netloc.rpartition("@")
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    return userinfo, [(part.hostname, part.port or default_port) for part in parts if part.hostname]
