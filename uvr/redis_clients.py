"""The two Redis clients of a process, from settings: one for commands, one for blocking waits.

They differ only in their socket time-out, which must outlast a blocking wait. Neither retries by itself: a claim sent
twice would lease two tasks. REDIS_URL (redis://, rediss://, unix://, redis+sentinel://, redis+cluster://) wins over
REDIS_HOST and its companions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import Redis, RedisCluster, RedisError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from config import Settings, SettingsError

WAIT_S = 2.0
"""Longest blocking wait; a worker that stops, or a delayed item that becomes due, waits at most this long."""

_COMMAND_TIMEOUT_S = 5.0
_HASH_TAG = re.compile(r"\{(.+?)\}")
_UNREADABLE = (
    "REDIS_URL: must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// and name a host; "
    "in its password write %2F for /, %3F for ?, %23 for # and %40 for @"
)


@dataclass(frozen=True)
class RedisClients:
    """`commands` for everything but blocking waits, which go through `blocking`."""

    commands: Redis
    blocking: Redis

    def close(self) -> None:
        """Close both clients' connections."""
        self.commands.close()
        self.blocking.close()


def connect(settings: Settings) -> RedisClients:
    """Clients for the configured Redis. Raises `SettingsError` for a faulty REDIS_URL.

    No connection is opened yet, but to a Cluster, which must say at once where its nodes are.
    """
    return RedisClients(
        commands=_client(settings, _COMMAND_TIMEOUT_S),
        blocking=_client(settings, WAIT_S + _COMMAND_TIMEOUT_S),
    )


def _client(settings: Settings, timeout_s: float) -> Redis:
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 30,
        "retry": Retry(NoBackoff(), 0),
    }
    url = settings.redis_url.get_secret_value()
    if not url:
        password = settings.redis_password.get_secret_value() or None
        return Redis(settings.redis_host, settings.redis_port, settings.redis_db, password, **options)
    try:
        return _from_url(url, settings, options)
    except ValueError:
        # What urllib says of it may quote a part of the password.
        raise SettingsError([_UNREADABLE]) from None


def _from_url(url: str, settings: Settings, options: dict[str, Any]) -> Redis:
    if clashing := sorted(options.keys() & dict(parse_qsl(urlsplit(url).query))):
        # In redis-py the URL would win, for instance with a time-out shorter than a blocking wait.
        raise SettingsError([f"REDIS_URL: leave out {', '.join(clashing)}; the service sets its own"])
    if url.startswith("redis+sentinel://"):
        return _behind_sentinel(url, options)
    if url.startswith("redis+cluster://"):
        return _cluster(url, settings, options)
    return Redis.from_url(url, **options)


def _behind_sentinel(url: str, options: dict[str, Any]) -> Redis:
    """`redis+sentinel://[:password@]host[:port][,host[:port]…]/service[/db]`; the password is the master's.

    `?sentinel_password=…` when the sentinels have one of their own.
    """
    userinfo, _, hosts = urlsplit(url).netloc.rpartition("@")
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not hosts or not service or not (db or "0").isdigit():
        raise SettingsError(["REDIS_URL: write redis+sentinel://:password@host1:26379,host2:26379/service/db"])
    parts = [urlsplit(f"//{part}") for part in hosts.split(",")]
    addresses = [(part.hostname, part.port or 26379) for part in parts]
    query = dict(parse_qsl(urlsplit(url).query))
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        addresses,
        sentinel_kwargs={"password": query.get("sentinel_password"), "socket_timeout": _COMMAND_TIMEOUT_S},
    )
    password = unquote(userinfo.partition(":")[2]) or None
    master: Redis = sentinel.master_for(service, db=int(db or 0), password=password, **options)
    return master


def _cluster(url: str, settings: Settings, options: dict[str, Any]) -> Redis:
    """`redis+cluster://host:port`; the scripts need every key of a queue in one slot, hence one hash tag in names."""
    names = (settings.redis_task_queue, settings.redis_result_queue, settings.redis_webhook_queue)
    tags = {match.group(1) if (match := _HASH_TAG.search(name)) else None for name in names}
    if None in tags or len(tags) > 1:
        fault = (
            "REDIS_TASK_QUEUE, REDIS_RESULT_QUEUE, REDIS_WEBHOOK_QUEUE: in a Redis Cluster all three must carry "
            "one hash tag, for example {uvr}tasks, {uvr}results and {uvr}webhooks"
        )
        raise SettingsError([fault])
    try:
        # RedisCluster offers the commands used here but shares no base class with Redis.
        cluster: Any = _Cluster.from_url("redis://" + url.removeprefix("redis+cluster://"), **options)
    except RedisClusterException:
        raise SettingsError(["REDIS_URL: none of these nodes answers as a part of a Redis Cluster"]) from None
    client: Redis = cluster
    return client


class _Cluster(RedisCluster):
    """A Cluster whose absence is a `RedisError`, as with any other Redis; redis-py has one outside that tree for it."""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]
        except RedisClusterException as error:
            raise RedisError(str(error)) from error
