"""The totals of all processes in a real Redis: they add up, and they never decrease a little."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis, RedisError

from tests.support.redis_server import redis_server
from uvr.metrics.aggregation import Totals
from uvr.metrics.definitions import UNSENT, Counter, Histogram

TRIES = Counter("tries_total", "Tries.", {"outcome": ()})
SECONDS = Histogram("seconds", "Time.", bounds=(0.5, 1.0))

pytestmark = pytest.mark.usefixtures("nothing_counted")


def test_what_several_processes_count_adds_up(redis_client: Redis) -> None:
    here, there = Totals(redis_client, "q"), Totals(redis_client, "q")
    TRIES.add(outcome="good")
    here.send()
    TRIES.add(2, outcome="good")
    SECONDS.observe(0.25)
    there.send()
    SECONDS.observe(0.75)
    assert here.read() == {
        ("tries_total", "", "good"): 3,
        ("seconds", "0.5"): 1,
        ("seconds", "1.0"): 1,
        ("seconds", "sum"): 1,
    }
    assert there.read() == here.read()


def test_nothing_is_sent_if_nothing_was_counted(redis_client: Redis) -> None:
    Totals(redis_client, "q").send()
    assert redis_client.keys() == []


def test_any_text_may_be_a_label(redis_client: Redis) -> None:
    name = 'a "model"\\ with\nlines, and 🎵'
    TRIES.add(outcome=name)
    assert Totals(redis_client, "q").read() == {("tries_total", "", name): 1}


def test_totals_restart_when_another_server_answers(redis_client: Redis) -> None:
    totals = Totals(redis_client, "q")
    TRIES.add(1000, outcome="good")
    totals.send()
    # The hash on a replica that was promoted before it received the latest writes.
    redis_client.hset("q:metrics", mapping={"server": "another", '["tries_total", "", "good"]': "990"})
    TRIES.add(outcome="good")
    assert totals.read() == {("tries_total", "", "good"): 1}
    assert totals.read() == {("tries_total", "", "good"): 1}


def test_totals_restart_with_the_server(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, Redis(**server.connection_kwargs, decode_responses=True) as client:
        totals = Totals(client, "q")
        TRIES.add(5, outcome="good")
        totals.send()
        server.stop()
        TRIES.add(2, outcome="good")
        with pytest.raises(RedisError):
            totals.send()
        server.start()
        assert totals.read() == {("tries_total", "", "good"): 2}, "what was counted during the outage is added later"


def test_counting_works_in_a_full_redis(redis_client: Redis) -> None:
    totals = Totals(redis_client, "q")
    redis_client.config_set("maxmemory", 1)
    try:
        TRIES.add(outcome="good")
        assert totals.read() == {("tries_total", "", "good"): 1}
    finally:
        redis_client.config_set("maxmemory", 0)


def test_counting_works_in_a_redis_that_hides_its_id(redis_client: Redis) -> None:
    redis_client.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    try:
        path = redis_client.get_connection_kwargs()["path"]
        with Redis(unix_socket_path=path, username="guest", password="any", decode_responses=True) as guest:
            TRIES.add(outcome="good")
            Totals(guest, "q").send()
            assert Totals(guest, "q").read() == {("tries_total", "", "good"): 1}
    finally:
        redis_client.acl_deluser("guest")


def test_the_last_counts_are_sent_at_the_end(redis_client: Redis) -> None:
    with Totals(redis_client, "q").sending():
        TRIES.add(outcome="good")
    assert Totals(redis_client, "q").read() == {("tries_total", "", "good"): 1}


def test_sending_ends_without_an_error_if_redis_is_away(tmp_path: Path) -> None:
    with (
        Redis(unix_socket_path=str(tmp_path / "no-server"), decode_responses=True) as client,
        Totals(client, "q").sending(),
    ):
        TRIES.add(outcome="good")
    assert UNSENT.take() == {("tries_total", "", "good"): 1}
