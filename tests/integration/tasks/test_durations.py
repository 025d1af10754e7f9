"""How long the latest songs took, in a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from tests.support.api import settings_for
from uvr.api.eta import EtaEstimator
from uvr.liveness.workers import WorkerPresence
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.durations import RecentDurations
from uvr.tasks.model import Task


def test_the_median_of_the_latest_songs_is_read(redis_client: Redis) -> None:
    durations = RecentDurations(redis_client, "tasks")
    assert durations.median_s() is None
    for seconds in (1000.0, 2.0, 4.0):
        durations.add(seconds)
    assert durations.median_s() == 4.0


def test_old_songs_do_not_count(redis_client: Redis) -> None:
    durations = RecentDurations(redis_client, "tasks")
    for seconds in [1000.0] * 20 + [2.0] * 20:
        durations.add(seconds)
    assert durations.median_s() == 2.0
    assert redis_client.llen("tasks:pace") == 20


def test_each_model_has_the_median_of_its_latest_speeds(redis_client: Redis) -> None:
    durations = RecentDurations(redis_client, "tasks")
    assert durations.speeds() == {}
    for speed in [9.0] * 20 + [0.5] * 11:
        durations.add_speed(["A model", ""], speed)
    durations.add_speed(["another"], 2.0)
    assert durations.speeds() == {"A model": 0.5, "": 0.5, "another": 2.0}
    assert len(redis_client.hget("tasks:speeds", "A model").split()) == 20


def test_a_missing_redis_fails_no_song(tmp_path: Path) -> None:
    with Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0)) as nowhere:
        durations = RecentDurations(nowhere, "tasks")
        with capture_logs() as lines:
            durations.add(1.0)
            durations.add_speed(["a"], 1.0)
        assert [line["event"] for line in lines] == ["pace.not_told", "pace.not_told"]
        with pytest.raises(RedisError):
            durations.median_s()


def test_paused_processors_do_not_count_in_estimates(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    clients = connect(settings)
    broker = Broker(settings, clients)
    broker.durations.add(30.0)
    task = Task("a", "https://songs.example/a.mp3", 3, 1_700_000_000_000)
    broker.store.submit(task)
    paused = ""
    processor = WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: {"paused": paused})
    with processor.announced():
        assert EtaEstimator(broker).remaining_s(task, 1) == 60
    paused = "The disk is full."
    with processor.announced():
        assert EtaEstimator(broker).remaining_s(task, 1) is None
    clients.close()


def test_estimates_read_redis_only_every_few_seconds(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    clients = connect(settings)
    broker = Broker(settings, clients)
    now = 0.0
    estimator = EtaEstimator(broker, clock=lambda: now)
    task = Task("a", "https://songs.example/a.mp3", 3, 1_700_000_000_000)
    with WorkerPresence(redis_client, "uvr_tasks", "processor", dict).announced():
        assert estimator.remaining_s(task, 0) is None
        broker.durations.add(30.0)
        assert estimator.remaining_s(task, 0) is None
        now = 5.0
        assert estimator.remaining_s(task, 0) == 30
    clients.close()
