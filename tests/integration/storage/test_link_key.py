"""The key of links: one for all processes, replaced everywhere, and kept while Redis is away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError

from uvr.redis import shared_key
from uvr.storage.link_key import KEPT_S, LinkKey


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the module, in seconds, which a test moves on."""
    now = [time.monotonic()]
    monkeypatch.setattr(shared_key.time, "monotonic", lambda: now[0])
    return now


def broken(*_arguments: Any) -> None:
    raise RedisConnectionError("gone")


def test_all_processes_have_one_key(redis_client: Redis) -> None:
    one, other = LinkKey(redis_client, "uvr_tasks"), LinkKey(redis_client, "uvr_tasks")
    assert one() == other()
    assert len(one()) == 32
    assert LinkKey(redis_client, "another")() != one()


@pytest.mark.parametrize("way", ["replaced", "deleted"])
def test_another_key_is_noticed_within_seconds(redis_client: Redis, clock: list[float], way: str) -> None:
    keys = [LinkKey(redis_client, "uvr_tasks") for _ in range(2)]
    [old] = {key() for key in keys}
    if way == "replaced":
        LinkKey(redis_client, "uvr_tasks").replace()
    else:
        redis_client.delete("uvr_tasks:link_key")
    assert KEPT_S < 60
    clock[0] += KEPT_S
    [new] = {key() for key in keys}
    assert new != old


def test_the_key_is_not_asked_for_each_time(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    key = LinkKey(redis_client, "uvr_tasks")
    known = key()
    monkeypatch.setattr(redis_client, "get", broken)
    assert key() == known


def test_a_thread_that_comes_while_another_asks_for_the_key_does_not_sign_without_one(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = LinkKey(redis_client, "uvr_tasks")
    get, seen = redis_client.get, []

    def get_and_be_overtaken(name: str) -> Any:
        monkeypatch.setattr(redis_client, "get", get)
        seen.append(key())
        return get(name)

    monkeypatch.setattr(redis_client, "get", get_and_be_overtaken)
    assert [key()] == seen
    assert len(seen[0]) == 32


def test_the_last_known_key_counts_while_redis_is_away(
    redis_client: Redis, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = LinkKey(redis_client, "uvr_tasks")
    known = key()
    clock[0] += KEPT_S
    monkeypatch.setattr(redis_client, "get", broken)
    assert key() == known
    with pytest.raises(RedisError):
        LinkKey(redis_client, "uvr_tasks")()
